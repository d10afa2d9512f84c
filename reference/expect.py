"""What a function expects of its arguments: each check raises one `ValueError` line, expected and received."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def fail(name: str, expected: str, received: object) -> None:
    raise ValueError(f"{name}: expected {expected}, received {received}")


def tensor(name: str, x: Tensor) -> None:
    """A tensor of any kind."""
    if not hasattr(x, "is_floating_point"):
        fail(name, "a tensor", type(x).__name__)


def floating(name: str, x: Tensor) -> None:
    """A floating-point tensor with at least one entry."""
    tensor(name, x)
    if not x.is_floating_point():
        fail(name, "a floating-point tensor", x.dtype)
    if x.numel() == 0:
        fail(name, "at least one entry", f"shape {tuple(x.shape)}")


def rows(name: str, x: Tensor) -> None:
    """A floating-point tensor with at least one axis and one entry."""
    floating(name, x)
    if not x.ndim:
        fail(name, "at least one axis", "shape ()")


def axes(name: str, x: Tensor, letters: str) -> dict[str, int]:
    """The sizes of a tensor with exactly the named axes, e.g. "B H T K"."""
    tensor(name, x)
    if x.ndim != len(letters.split()):
        fail(name, f"axes {letters}", f"shape {tuple(x.shape)}")
    return dict(zip(letters.split(), x.shape, strict=True))


def agree(**sizes: tuple[int, int]) -> None:
    """Two sizes of one axis, which must be equal: agree(K=(q's, k's))."""
    for letter, (first, second) in sizes.items():
        if first != second:
            fail(f"axis {letter}", f"one size, {first}", second)


def integers(name: str, x: Tensor) -> None:
    """A tensor of whole numbers."""
    tensor(name, x)
    if x.is_floating_point() or x.is_complex() or str(x.dtype) == "torch.bool":
        fail(name, "an integer tensor", x.dtype)


def indices(name: str, x: Tensor, below: int) -> None:
    """An integer tensor with entries 0 … below − 1."""
    integers(name, x)
    if x.numel() and (int(x.min()) < 0 or int(x.max()) >= below):
        fail(name, f"entries from 0 to {below - 1}", f"entries from {int(x.min())} to {int(x.max())}")


def real(name: str, x: float) -> None:
    """Something that is a real number, whatever its value."""
    if not hasattr(x, "__float__"):
        fail(name, "a number", repr(x))


def above(name: str, x: float, low: float = 0.0) -> None:
    """A real number x > low; NaN and infinity are refused."""
    real(name, x)
    if not low < x < math.inf:
        fail(name, f"a number above {low:g}", x)


def number(name: str, x: float, low: float = -math.inf, high: float = math.inf, *, open_high: bool = False) -> None:
    """A real number with low ≤ x ≤ high (x < high when `open_high`); NaN is refused."""
    real(name, x)
    inside = low <= x < high if open_high else low <= x <= high
    if not inside or math.isinf(x):
        fail(name, f"a number from {low:g} {'below' if open_high else 'to'} {high:g}", x)


def natural(name: str, x: int, low: int = 0) -> None:
    """An integer x ≥ low."""
    if isinstance(x, bool) or not isinstance(x, int) or x < low:
        fail(name, f"an integer ≥ {low}", repr(x))
