r"""The rules of truths, choices and orders: where rounding may turn a comparison round, and what hangs on it.

The error of a truth, or of a whole number, is how far it may be off: 1 where rounding may decide it, and 0 elsewhere.
That of a place in a sorted row is how many places its entry may move. Equal numbers that came from equal inputs by the
same operations stay equal in any implementation, so that exact ties are in no doubt.
"""

from __future__ import annotations

import torch

from verify.contract import UNIT
from verify.rounding import Ball, Rounding, Undecided
from verify.rounding_rules import BALLS, DECOMPOSED, aten, ball, magnitude, rule
from verify.rounding_sums import EXACT, STRUCTURE, gamma

__all__ = ["BALLS", "CHOOSING", "DECOMPOSED", "ENTRYWISE", "EXACT", "STRUCTURE"]

ENTRYWISE = {aten.add, aten.sub, aten.rsub, aten.mul, aten.div, aten.neg, aten.exp, aten.log}
"""Operations that take equal entries of a row to equal ones, of another function."""
CHOOSING = {aten.where, aten.masked_fill, aten.amax, aten.amin, aten.flip, aten.clone}
"""Operations whose results are entries that they were given."""


def _equal(a: Ball, b: Ball) -> torch.Tensor:
    return (a.value == b.value) & (a.error == b.error)


@rule(aten.eq, aten.ne, aten.lt, aten.le, aten.gt, aten.ge)
def _comparison(m, out, a, b):
    """Doubtful where the two numbers may meet; exact numbers compare as they are.

    Frameworks convert a number to the dtype of the tensor that it is compared with.
    """
    a, b = (x if isinstance(x, Ball) else _stored(m, ball(m, x)) for x in (a, b))
    if a.value is b.value:  # x == x asks for NaN
        return torch.zeros(out.shape, dtype=torch.float64)
    apart = (a.value.double() - b.value.double()).abs() > a.error + b.error
    apart |= a.value.isnan() | b.value.isnan()  # which is never so
    row = m.row(a.value)
    equal = _equal(a, b) & (row is not None and row == m.row(b.value))
    return (~(apart | equal | ((a.error == 0) & (b.error == 0)))).double()


def _stored(m: Rounding, x: Ball) -> Ball:
    narrow = m.contract.stored
    return Ball(x.value, x.error + UNIT[narrow] * x.value.abs()) if narrow and x.value.isfinite() else x


@rule(aten.logical_and, aten.bitwise_and)
def _both(m, out, a, b):
    """A sure no settles it."""
    no = ((a.error == 0) & ~a.value) | ((b.error == 0) & ~b.value)
    return torch.where(no, 0, torch.maximum(a.error, b.error))


@rule(aten.logical_or, aten.bitwise_or)
def _either(m, out, a, b):
    """A sure yes settles it."""
    yes = ((a.error == 0) & a.value) | ((b.error == 0) & b.value)
    return torch.where(yes, 0, torch.maximum(a.error, b.error))


@rule(aten.any)
def _some(m, out, a, dim=None, keepdim=False):
    axes = list(range(a.value.ndim)) if dim is None else dim
    settled = ((a.error == 0) & a.value.bool()).sum(axes, keepdim) > 0
    return torch.where(settled, 0, (a.error > 0).sum(axes, keepdim).clamp(max=1).double())


@rule(aten.all)
def _every(m, out, a, dim=None, keepdim=False):
    axes = list(range(a.value.ndim)) if dim is None else dim
    settled = ((a.error == 0) & ~a.value.bool()).sum(axes, keepdim) > 0
    return torch.where(settled, 0, (a.error > 0).sum(axes, keepdim).clamp(max=1).double())


def _apart(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """|a − b|, zero between equal infinities."""
    return torch.where(a == b, 0, (a.double() - b.double()).abs()).nan_to_num(nan=torch.inf, posinf=torch.inf)


@rule(aten.where)
def _choice(m, out, condition, a, b):
    """Where the condition is doubtful either may have been taken."""
    a, b = ball(m, a), ball(m, b)
    chosen = torch.where(condition.value, a.error, b.error)
    return torch.where(condition.error > 0, torch.maximum(a.error, b.error) + _apart(a.value, b.value), chosen)


@rule(aten.masked_fill)
def _filled(m, out, a, mask, value):
    return _choice(m, out, mask, value, a)


def _between(out: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """How far a number between low and high may be from out."""
    return torch.maximum(_apart(out, low), _apart(out, high.nan_to_num(nan=torch.inf, posinf=torch.inf)))


@rule(aten.maximum, aten.minimum)
def _larger(m, out, a, b):
    return torch.maximum(ball(m, a).error, ball(m, b).error)


def _may_be_another(m: Rounding, out: torch.Tensor, a: Ball, dim: tuple[int, ...]) -> None:
    """The extreme entry is no entry for sure where others, which are no equals, come near; or across rows."""
    kept = out if out.ndim == a.value.ndim else out.unsqueeze(-1)
    of_a_row = [d % a.value.ndim for d in dim] == [a.value.ndim - 1]
    if of_a_row:
        its = torch.where(a.value == kept, a.error, 0).amax(-1, keepdim=True)
        near = (_apart(a.value, kept) <= a.error + its) & (a.error + its > 0)
        of_a_row = not bool((near & ~_equal(a, Ball(kept, its))).any())
    if not of_a_row:
        m.alike.pop(out.untyped_storage().data_ptr(), None)


@rule(aten.amax)
def _largest(m, out, a, dim=(), keepdim=False):
    _may_be_another(m, out, a, dim)
    return _between(out, (a.value - a.error).amax(dim, keepdim), (a.value + a.error).amax(dim, keepdim))


@rule(aten.amin)
def _least(m, out, a, dim=(), keepdim=False):
    _may_be_another(m, out, a, dim)
    return _between(out, (a.value - a.error).amin(dim, keepdim), (a.value + a.error).amin(dim, keepdim))


@rule(aten.argmax, aten.argmin)
def _place_of_the_largest(m, out, a, dim=None, keepdim=False):
    """Doubtful where another entry may be as large; the first of exact equals is taken."""
    if dim is None:
        raise Undecided("the place of the largest entry of a whole tensor")
    best = a.value.gather(dim, out if keepdim else out.unsqueeze(dim))
    its = a.error.gather(dim, out if keepdim else out.unsqueeze(dim))
    near = (_apart(a.value, best) <= a.error + its) & (a.error + its > 0)
    if m.row(a.value):
        near &= ~_equal(a, Ball(best, its))
    place = torch.arange(a.value.shape[dim]).reshape(-1, *[1] * (a.value.ndim - 1 - dim % a.value.ndim))
    return (near & (place != (out if keepdim else out.unsqueeze(dim)))).any(dim, keepdim).double()


@rule(aten.sort)
def _sort(m, out, a, dim=-1, descending=False, *, stable=None):
    """A sorted row lies between the sorted rows of least and of largest values; a place moves among what overlaps."""
    values, order = out
    error = a.error.gather(dim, order)
    ends = [(a.value + sign * a.error).nan_to_num(nan=torch.inf * sign, posinf=torch.inf, neginf=-torch.inf)
            .sort(dim, descending).values for sign in (-1, 1)]  # fmt: skip
    falling = values if descending else -values
    moves = _moves(falling.movedim(dim, -1), error.movedim(dim, -1), m.row(a.value) is not None)
    return _between(values, *ends), moves.movedim(-1, dim)


def _moves(x: torch.Tensor, e: torch.Tensor, equals_stay: bool) -> torch.Tensor:
    """How many places an entry of a falling row may move: to the farthest whose interval meets its own.

    Exact entries keep their order, also among equals: their intervals are taken empty, and the others' a little longer.
    """
    up, down = torch.full_like(x, torch.inf), torch.full_like(x, -torch.inf)
    high = torch.where(e == 0, torch.nextafter(x, down), (x + e * (1 + 2**-40)).nan_to_num(nan=torch.inf))
    low = torch.where(e == 0, torch.nextafter(x, up), (x - e * (1 + 2**-40)).nan_to_num(nan=-torch.inf))
    n, place = x.shape[-1], torch.arange(x.shape[-1])
    reaching = high.flip(-1).cummax(-1).values  # of the entries from here to the end, from the end: rising
    last = n - 1 - torch.searchsorted(reaching.contiguous(), low.contiguous())
    first = n - torch.searchsorted(low.cummin(-1).values.flip(-1).contiguous(), high.contiguous(), right=True)
    if equals_stay:  # it meets none but equals
        ends = [(x.gather(-1, i.clamp(0, n - 1)) == x) & (e.gather(-1, i.clamp(0, n - 1)) == e) for i in (first, last)]
        alone = ends[0] & ends[1]
        first, last = torch.where(alone, place, first), torch.where(alone, place, last)
    return torch.maximum(last - place, place - first).clamp(min=0).double()


def _spread(x: torch.Tensor, moves: torch.Tensor, dim: int) -> torch.Tensor:
    """How far an entry is from those among which its place may move."""
    x, moves = x.double().movedim(dim, -1), moves.movedim(dim, -1)
    place, n = torch.arange(x.shape[-1]), x.shape[-1]
    farthest = torch.zeros_like(x)
    for step in range(1, int(moves.max()) + 1 if moves.numel() else 0):
        for other in (place - step, place + step):
            inside, other = (other >= 0) & (other < n), other.clamp(0, n - 1)
            there = inside & (torch.minimum(moves, moves[..., other]) >= step)
            farthest = torch.maximum(farthest, torch.where(there, _apart(x, x[..., other]), 0))
    return farthest.movedim(-1, dim)


@rule(aten.gather)
def _gathered(m, out, a, dim, index, *, sparse_grad=False):
    """From a doubtful place another entry may come."""
    error = a.error.gather(dim, index.value)
    return error + _spread(out, index.error, dim) if index.error.any() else error


@rule(aten.scatter)
def _scattered(m, out, a, dim, index, source):
    """To a doubtful place another entry may go."""
    source = ball(m, source)
    error = source.error.expand(index.value.shape)
    if index.error.any():
        error = error + _spread(source.value.expand(index.value.shape), index.error, dim)
    return a.error.scatter(dim, index.value, error)


@rule(aten.index)
def _indexed(m, out, a, indices):
    if any(i is not None and bool(i.error.any()) for i in indices):
        raise Undecided("rounding decides which entries are taken")
    return a.error[tuple(slice(None) if i is None else i.value for i in indices)]


@rule(aten.cumsum)
def _running(m, out, a, dim, *, dtype=None):
    """Every prefix is a sum."""
    sizes = magnitude(a)
    terms = (sizes != 0).cumsum(dim)
    lost = torch.where(terms > 1, m.contract.lost * terms, 0)
    return m.rounded(out, a.error.cumsum(dim) + gamma(m, terms) * sizes.cumsum(dim) + lost)
