"""Every operation obeys its laws and agrees with its twin; every mutant is killed, every law kills."""

import pytest
import torch

from verify.boundaries import computed
from verify.claims import problem
from verify.ledger import PROFILES, profile_count
from verify.mistake import mistake, mutants
from verify.suite import Operation, examples, glance, problems, run, same
from verify.trained import NEAR, trained_table

OPERATIONS = [o for topic in computed() for o in __import__(f"verify.{topic}", fromlist=["OPERATIONS"]).OPERATIONS]
COUNT = 25


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_operation(operation):
    seen = run(operation, profile_count())
    assert problems(seen) == []
    assert seen.reference_laws and seen.kills


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_every_mutant_names_its_mistake(operation):
    for mutant in mutants(operation.name):
        assert mutant.mistake.id and mutant.mistake.fix and mutant.__doc__
        assert mutant.mistake.seen == "no public report found" or any(c.isdigit() for c in mutant.mistake.seen)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_axes_are_distinct_and_examples_repeat(operation):
    first, second = (examples.__wrapped__(operation, 10) for _ in range(2))  # not from the cache
    for ours, again in zip(first, second, strict=True):
        for name, value in ours.items():
            assert same(value, again[name]), f"{name} differs between two runs"


def test_a_wrong_reference_is_told(monkeypatch):
    """The check can fail: a reference that is a mutant is caught, by law, twin and gradient."""
    import reference.softmax as softmax

    mutants("softmax.softmax")  # they bind the right one when they are imported
    monkeypatch.setattr(softmax, "softmax", lambda z: torch.softmax(z, 0))
    operation = next(o for o in OPERATIONS if o.name == "softmax.softmax")
    found = problems(run(operation, 10))
    assert any("rows_sum_to_one is broken by the reference" in line for line in found)
    assert any("reference and twin disagree" in line for line in found)


def test_a_glance_sees_a_wrong_reference_and_says_what_it_did_not_see(monkeypatch):
    """Laws alone: no twin, no gradients; what only these would tell is neither green nor red."""
    import reference.softmax as softmax
    from verify.rows import of_operation

    operation = next(o for o in OPERATIONS if o.name == "softmax.softmax")
    right = of_operation(operation, 10, quick=True)
    assert right["status"] == "passed" and right["evidence"][-1]["class"] == "not run"
    assert "1 mutants that break no law" in right["evidence"][-1]["what"]
    monkeypatch.setattr(softmax, "softmax", lambda z: torch.softmax(z, 0))
    wrong = of_operation(operation, 10, quick=True)
    assert wrong["status"] == "failed" and "rows_sum_to_one is broken by the reference" in wrong["problems"][0]


def test_an_argument_changed_in_place_is_told(monkeypatch):
    """A filter that writes into its logits gives right values, at every call."""
    import reference.sampling as sampling

    original = sampling.top_k
    monkeypatch.setattr(sampling, "top_k", lambda z, k: z.copy_(original(z, k)))
    operation = next(o for o in OPERATIONS if o.name == "sampling.top_k")
    assert "sampling.top_k: the argument z is changed in place" in problems(run(operation, 10))


def test_an_idle_law_and_a_surviving_mutant_are_told():
    def says_nothing(softmax, z):
        """True of everything."""

    operation = next(o for o in OPERATIONS if o.name == "softmax.softmax")
    idle = problems(run(Operation(operation.name, operation.inputs, [*operation.laws, says_nothing]), 10))
    assert "softmax.softmax: law says_nothing is broken by no mutant" in idle
    assert any("backward_without_cross_term is killed by no law" in line for line in idle)  # gradients not asked for


def test_a_mutant_that_only_crashes_is_told(monkeypatch):
    """Anything would kill it, so that it shows nothing."""
    import verify.mutant.softmax as known

    @mistake("softmax.softmax", id="crash", seen="nowhere", fix="a name that exists")
    def crashes(z):
        raise NameError("name 'no_such_name' is not defined")

    monkeypatch.setattr(known, "crashes", crashes, raising=False)
    operation = next(o for o in OPERATIONS if o.name == "softmax.softmax")
    told = "softmax.softmax: mutant crashes never gives a value: NameError: name 'no_such_name' is not defined"
    assert told in problems(run(operation, 3)) and told in problems(glance(operation, 3))


def test_profiles(monkeypatch):
    assert PROFILES == {"dev": 25, "ci": 200, "deep": 5000}
    monkeypatch.setenv("DEMONSTRANDUM_PROFILE", "wild")
    with pytest.raises(ValueError, match="dev, ci, deep, not 'wild'"):
        profile_count()


def test_claims_agree_with_the_functions_they_name():
    from derivations.__main__ import claims

    compared = [c for c in claims() if c.computes]
    assert len(compared) >= 10
    for c in compared:
        wrong, worst, points = problem(c)
        assert wrong is None and points >= 10 and worst < 1e-12


def test_a_function_that_computes_something_else_is_told(monkeypatch):
    import reference.loss as loss
    from derivations.loss import cross_entropy_gradient_is_p_minus_y

    right = loss.cross_entropy_gradient
    monkeypatch.setattr(loss, "cross_entropy_gradient", lambda z, target: 1.001 * right(z, target))
    wrong, _, _ = problem(cross_entropy_gradient_is_p_minus_y)
    assert "does not compute what is proved" in wrong


def test_the_table_trained_on_real_text_is_the_optimum():
    worst, lacking, seen = trained_table()
    assert seen > 100_000 and worst <= NEAR and abs(lacking) < 1e-9
