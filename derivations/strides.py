r"""What of a tensor's memory is a view, and how a fresh result lies: the arithmetic of shapes and strides.

A tensor here is anything with `shape` and `strides`, in entries. Sizes may be numbers that carry their polynomial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def contiguous(shape: Sequence[Any]) -> tuple[Any, ...]:
    """Strides of a tensor whose last axis lies closest."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step = step * size if size != 0 else step
    return tuple(reversed(strides))


def viewed(shape, strides, wanted) -> tuple[Any, ...] | None:
    """The strides of the same memory under another shape; None if that takes a copy.

    Source: the rule that torch.Tensor.view documents: axes may be merged where they lie one within the other.
    """
    runs, size, step = [], 1, None  # maximal runs of axes that lie one within the other, from the last
    for n, s in reversed(list(zip(shape, strides, strict=True))):
        if n == 1:
            continue
        if step is not None and s == step * size:
            size *= n
        else:
            if step is not None:
                runs.append((size, step))
            size, step = n, s
    runs.append((size, 1 if step is None else step))
    found, left, step = [], 1, 1
    runs.reverse()
    for n in reversed(wanted):
        if n == 1:
            found.append(step)
            continue
        if left == 1:
            if not runs:
                return None
            left, step = runs.pop()
        if left % n:
            return None
        found.append(step)
        left, step = left // n, step * n
    return tuple(reversed(found)) if left == 1 else None


def permuted_like(tensors: Sequence[Any], shape) -> tuple[Any, ...]:
    """Strides of a fresh result of an elementwise operation: its axes lie as those of the first operand that tells."""
    order = sorted(range(len(shape)), reverse=True)
    for i in range(1, len(order)):  # insertion, since operands that broadcast leave pairs of axes undecided
        at = i
        for j in range(i - 1, -1, -1):
            verdict = _closer(tensors, shape, order[j], order[at])
            if verdict > 0:
                order[j], order[at] = order[at], order[j]
                at = j
            elif verdict < 0:
                break
    strides, step = [0] * len(shape), 1
    for axis in order:
        strides[axis] = step
        step = step * shape[axis]
    return tuple(strides)


def _closer(tensors, shape, a, b) -> int:
    """1 if axis a lies farther apart than b and must come after it, −1 if closer, 0 if nothing tells."""
    for t in tensors:
        lead = len(shape) - len(t.shape)
        sa, sb = (0 if i < lead or t.shape[i - lead] == 1 else t.strides[i - lead] for i in (a, b))
        if sa == 0 or sb == 0:
            continue
        if sa != sb:
            return 1 if sa > sb else -1
        if t.shape[a - lead] > t.shape[b - lead]:
            return 1
    return 0
