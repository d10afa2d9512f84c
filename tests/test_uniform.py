"""Runs that stand for all sizes: what depends on a size is refused, and what is no polynomial does not pass for one."""

import random

import pytest

from derivations import eager_cpu, peaks
from derivations.budget import Plan, saved, stream
from derivations.costs import Cost, resolved
from derivations.decoder import Run
from derivations.polynomial import told
from derivations.programs import gpt2, kept, work
from derivations.uniform import Doubtful, Letter, largest, polynomial, sign

B, T = Letter(3, {("B",): 1}), Letter(5, {("T",): 1})


def test_a_comparison_is_answered_when_one_answer_is_right_for_all_sizes():
    assert B * T > B and B * T >= 2 * B and not B * T < 4 and B + T != 1 and B * T == T * B
    assert not B > B * T and B * T != B and (B * T) % B == 0 and B % (B * T) == B
    assert [sign(x) for x in (B - 2, B - 1, 1 - B, B - B, B - T)] == ["0+", "+", "-", "0", "?"]


@pytest.mark.parametrize(
    "doubtful",
    [lambda: B == T, lambda: B < T, lambda: B == 2, lambda: B > 2, lambda: bool(B - 2), lambda: B % 2, lambda: T % B],
    ids=["B = T", "B < T", "B = 2", "B > 2", "B − 2", "B mod 2", "T mod B"],
)
def test_a_comparison_that_depends_on_the_sizes_is_refused(doubtful):
    with pytest.raises(Doubtful):
        doubtful()


def test_a_rounded_size_becomes_a_letter_of_its_own():
    assert told((-(-T // 128) * 128).terms) == "− 128⌊− T/128⌋"
    with pytest.raises(Doubtful, match="no polynomial"):
        polynomial(lambda T: {"blocks": -(-T // 128)}, "T")


def test_a_result_that_is_another_one_at_size_one_is_refused():
    with pytest.raises(Doubtful, match="with T = 1"):
        polynomial(lambda T: {"copy": 0 if T == 1 else 4 * T}, "T")


def test_what_cancels_leaves_nothing():
    n = Letter(3, {("B",): 1})
    assert ((n + 1) * (n - 1)).terms == {("B", "B"): 1, (): -1} and (n * 0).terms == (n - n).terms == {}


def test_the_largest_size_is_found_or_refused():
    assert largest([B, B * T, 2]) == B * T
    with pytest.raises(Doubtful):
        largest([B, T])


@pytest.mark.parametrize(
    "program",
    [kept(gpt2), kept(gpt2, attention="explicit", dropout=0.1), work(gpt2)],
    ids=["fused", "explicit with dropout", "products"],
)
def test_polynomials_agree_with_runs_on_integers(program):
    cost, draw = Cost("cost", program, "B T D H K F V"), random.Random(0)
    for _ in range(20):
        sizes = dict(zip("LBTDHKFV", [draw.randint(1, 5) for _ in range(8)], strict=True))
        found = resolved(cost()).subs({x: sizes[x.name] for x in cost.symbols})
        assert found == cost.at(tuple(sizes.values())) == sum(program(**sizes).values())


@pytest.mark.parametrize("attention", ["sdpa", "explicit"])
@pytest.mark.parametrize("table", ["cpu", "cuda"])
def test_a_watched_run_keeps_what_any_run_keeps(attention, table):
    sizes, how = {"L": 3, "D": 6, "H": 2, "K": 3, "F": 10, "V": 11}, {"attention": attention, "dropout": 0.1}
    usual = saved(stream(gpt2(**sizes), Run(2, 5, **how), Plan(), table))
    del usual["workspace"]
    assert usual == kept(gpt2, table, **how)(B=2, T=5, **sizes)


def test_a_rule_that_depends_on_a_size_is_seen(monkeypatch):
    def keeps_more_for_long_sequences(self, x, name):
        return self.node(name, [x], [x] if x.shape[1] < 100 else [], lambda given: [x]).of(self.like(x, name))

    monkeypatch.setattr(eager_cpu.Cpu, "unary", keeps_more_for_long_sequences)
    with pytest.raises(Doubtful, match="T against 100"):
        polynomial(lambda **sizes: kept(gpt2)(L=1, **sizes), "B T D H K F V")


def test_a_block_that_changes_the_stream_is_seen(monkeypatch):
    monkeypatch.setattr("derivations.decoder.gpt2_block", lambda m, a, run, name, x: m.transpose(x, 0, 1))
    with pytest.raises(Doubtful, match="residual stream"):
        kept(gpt2)(L=1, B=2, T=3, D=4, H=2, K=2)


def test_an_instant_that_is_larger_than_the_four_is_seen(monkeypatch):
    def hungry(self, x, name):
        out = self.node(name, [x], [x], lambda given: [self.like(given[0], "gradient")]).of(self.like(x, name))
        self.new((10**9, *x.shape), x.dtype, "scratch")
        return out

    monkeypatch.setattr(peaks.Quiet, "unary", hungry)
    monkeypatch.setattr(peaks, "pattern", peaks.pattern.__wrapped__)  # what was found before is not asked
    with pytest.raises(Doubtful, match="is not seen to be below"):
        peaks.inner_goals.__wrapped__()


def test_an_instant_that_grows_from_block_to_block_is_seen(monkeypatch):
    def growing(self, x, name):
        number = 1 + int(self.where.partition(" ")[2])
        self.new((10 ** (3 * number), *x.shape), x.dtype, "scratch")
        return self.node(name, [x], [x], lambda given: [self.like(given[0], "gradient")]).of(self.like(x, name))

    monkeypatch.setattr(peaks.Quiet, "unary", growing)
    with pytest.raises(Doubtful, match="is none of those that are expected"):
        peaks.pattern.__wrapped__(True, "sgd")
