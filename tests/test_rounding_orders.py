"""What hangs on comparisons and orders: doubtful exactly where rounding may decide, sure where numbers are equal."""

import torch

from verify.contract import Contract
from verify.rounding import bounds

FUSED = Contract("FUSED", torch.float32)


def masked_by_rank(x):
    """The two largest of each row, the others zero."""
    order = x.sort(dim=-1, descending=True, stable=True).indices
    keep = torch.zeros(x.shape, dtype=torch.bool).scatter(-1, order, torch.arange(x.shape[-1]).expand(x.shape) < 2)
    return torch.where(keep, x, 0)


def test_what_hangs_on_an_order_is_doubtful_exactly_where_entries_may_change_places():
    near = 2 * (1 + 2.0**-23)
    rows = [[3, 1, 2, 0.5], [3, 2, near, 0.5], [near, 2, near, 0.5], [3, 2.5, 1, 1 + 2.0**-23], [2, 2, 2, 0.5]]
    x = torch.tensor(rows, dtype=torch.float64)
    (ball,) = bounds(masked_by_rank, {"x": x}, FUSED)
    doubtful = ball.error > 1e-3
    sure = [False] * 4  # also where equal numbers stand at the border: they are equal in any arithmetic
    assert doubtful.tolist() == [sure, [False, True, True, False], [True, True, True, False], sure, sure]
    (ball,) = bounds(lambda x, y: masked_by_rank(x + y), {"x": x, "y": torch.zeros(5, 4).double()}, FUSED)
    assert (ball.error[4] > 1e-3).tolist() == [True, True, True, False], "two sums may be equal by accident"
    (place,) = bounds(lambda x: x.argmax(-1), {"x": x}, FUSED)
    assert place.error.tolist() == [0, 0, 1, 0, 0]
    (chosen,) = bounds(lambda x: x.gather(-1, x.sort(-1).indices)[..., 2], {"x": x}, FUSED)
    assert (chosen.error < 1e-5).all(), "whichever of two equals comes, it is the same number"


def test_the_largest_meets_itself_only_where_no_other_may_be_larger():
    near = 2 * (1 + 2.0**-23)
    for row, doubt in (([3, 1, 2, 2], [0, 0, 0, 0]), ([3, 3, 2, 1], [0, 0, 0, 0]), ([near, 2, 1, 0], [1, 1, 0, 0])):
        x = torch.tensor([row], dtype=torch.float64)
        (below,) = bounds(lambda x: x < x.amax(-1, keepdim=True) + 0.0, {"x": x}, FUSED)
        assert below.error.tolist() == [doubt], row
    for f in (lambda x: x * 2 < x + 1, lambda x: x < x.amax(0, keepdim=True), lambda x: x.mT < x.mT.amax(-1, True)):
        (met,) = bounds(f, {"x": torch.ones(2, 2).double()}, FUSED)
        assert met.error.all(), "of two functions, or of two rows, numbers may be equal by accident"
    shifted = {"x": torch.tensor([[1.0, 2.0], [2.0, 3.0]]).double(), "y": torch.tensor([[1.0], [2.0]]).double()}
    (place,) = bounds(lambda x, y: (x - y).flatten()[None].argmax(-1), shifted, FUSED)
    assert place.error.all(), "rows put side by side are of two functions"


def test_a_choice_in_doubt_tells_equals_apart():
    x = torch.tensor([[1.0, 1.0, 2.0]]).double()
    (place,) = bounds(lambda x: torch.where(x * 3 > 3, x, x * 0).argmax(-1), {"x": x}, FUSED)
    (taken,) = bounds(lambda x: torch.where(x * 3 > 3, x, 0)[..., :2].sort(-1).indices, {"x": x}, FUSED)
    assert place.error.tolist() == [0] and taken.error.all()


def test_a_sure_truth_settles_a_doubtful_one():
    x = torch.tensor([0.3, 0.1]).double()

    def doubt(x):
        return x.sum().expand(2) > 0.4

    for f, expected in (
        (lambda x: doubt(x) & (x > 0.2), [1, 0]),
        (lambda x: doubt(x) | (x > 0.2), [0, 1]),
        (lambda x: (doubt(x) | (x > 0.2)).any(0), 0),
        (lambda x: (doubt(x) & (x > 0.2)).all(0), 0),
        (lambda x: doubt(x).any(0), 1),
    ):
        (ball,) = bounds(f, {"x": x}, FUSED)
        assert ball.error.tolist() == expected
