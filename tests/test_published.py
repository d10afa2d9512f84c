"""Published numbers: data that can be read, exact agreement, an errata page up to date, planted faults seen."""

import inspect
import json
import re
from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest

from bench import published
from bench.published import CLASSES, FORMULAS, agreement, evaluate, interval, nearest, number, rows, tables
from derivations.architecture import parameters
from verify.boundaries import bibliography

ENTRIES = [entry for entries in tables().values() for entry in entries]
FIELDS = {"id", "quantity", "printed", "value", "quantum", "unit", "formula", "inputs", "source", "locator"}


@pytest.fixture(scope="module")
def found():
    return list(rows())


def test_entries_are_whole():
    assert len({entry["id"] for entry in ENTRIES}) == len(ENTRIES)
    keys = bibliography()
    for entry in ENTRIES:
        assert FIELDS <= set(entry) <= FIELDS | {"rounded", "note"}, entry["id"]
        assert set(entry.get("rounded", {})) <= set(entry["inputs"]), entry["id"]
        key, _, place = entry["source"].partition(", ")
        assert key in keys and place and entry["locator"], entry["id"]


def last_place(printed):
    """One unit in the last printed digit."""
    digits, _, exponent = re.sub(r"[^\d.e+-]", "", printed.lower()).partition("e")
    return Fraction(10) ** (int(exponent or 0) - len(digits.partition(".")[2]))


def test_the_print_is_the_value():
    for entry in ENTRIES:
        value, quantum = Fraction(entry["value"]), Fraction(entry["quantum"])
        assert number(entry["printed"]) == value, entry["id"]
        if quantum:  # coarser than the last digit where zeros only fill up
            steps = quantum / last_place(entry["printed"])
            assert value % quantum == 0 and re.fullmatch("10*", str(steps)), entry["id"]


def test_every_entry_gets_a_class(found):
    assert [row["id"] for row in found] == [entry["id"] for entry in ENTRIES]
    assert {row["agreement"] for row in found} == set(CLASSES)


def test_every_formula_is_used():
    text = "".join(map(inspect.getsource, FORMULAS))
    named = {entry["formula"] for entry in ENTRIES}
    for name in re.findall(r"^def (\w+)", text, re.M):
        assert name in named or len(re.findall(rf"\b{name}\(", text)) > 1, name


def test_results_within_half_a_quantum_stay_in_the_interval():
    steps = [Fraction(step, 8) for step in (-4, -3, 0, 2, 4)]
    for entry in ENTRIES:
        moved = [[(n, entry["inputs"][n] + q * step) for step in steps] for n, q in entry.get("rounded", {}).items()]
        inside = [evaluate(entry, **dict(point)) for point in product(*moved)]
        assert interval(entry) == (min(inside), max(inside)), entry["id"]


F = Fraction


@pytest.mark.parametrize(
    ("ours", "value", "quantum", "low", "high", "expected"),
    [
        ("3", "3", "0", "3", "3", "exact"),
        ("3", "3", "1", "3", "3", "exact"),
        ("3.04", "3.0", "0.1", "3.04", "3.04", "rounds"),
        ("41.25", "41.3", "0.1", "41.25", "41.25", "rounds"),  # half away from zero
        ("41.25", "41.2", "0.1", "41.25", "41.25", "rounds"),  # half to even
        ("41.35", "41.3", "0.1", "41.35", "41.35", "truncates"),  # the odd neighbour below is neither
        ("4187.5", "4187", "1", "4187.5", "4187.5", "truncates"),
        ("-2.5", "-3", "1", "-2.5", "-2.5", "rounds"),
        ("-2.5", "-2", "1", "-2.5", "-2.5", "rounds"),
        ("-3.5", "-3", "1", "-3.5", "-3.5", "truncates"),
        ("2.9", "2", "1", "2.9", "2.9", "truncates"),
        ("-2.9", "-2", "1", "-2.9", "-2.9", "truncates"),
        ("0.04", "0", "0.1", "0.04", "0.04", "rounds"),
        ("12953", "13000", "100", "12953", "12953", "rounds"),
        ("2.1", "3", "1", "2.1", "2.1", "discrepancy"),  # not even rounding up
        ("120.42", "121", "1", "120.3", "120.54", "within input rounding"),
        ("120.42", "121", "1", "120.3", "120.5", "within input rounding"),  # half away from zero
        ("121.5", "121", "1", "121.5", "121.6", "truncates"),
        ("122.6", "121", "1", "121.5", "123", "discrepancy"),  # 121.5 goes to the even 122
        ("123.6", "122", "1", "122.5", "124", "within input rounding"),  # 122.5 goes to the even 122
        ("120.42", "121", "1", "120.3", "120.49", "discrepancy"),
        ("7.5", "7", "0", "6.9", "8.1", "within input rounding"),
        ("7.5", "7", "0", "7.1", "7.9", "discrepancy"),
        ("7.00001", "7", "0", "7.00001", "7.00001", "discrepancy"),
    ],
)
def test_agreement(ours, value, quantum, low, high, expected):
    assert agreement(F(ours), F(value), F(quantum), F(low), F(high)) == expected


def test_ties_have_two_neighbours_at_most():
    assert nearest(F("2.5"), F(1)) == {F(2), F(3)}
    assert nearest(F("3.5"), F(1)) == {F(4)}
    assert nearest(F("-0.25"), F("0.1")) == {F("-0.2"), F("-0.3")}


PLANTS = {
    "a block of 11 D² weights": (
        "total_parameters",
        lambda a: parameters(a) - a.L * a.D**2,
        {"gpt2-medium-params", "llmfs-gpt2-medium-406286336", "mosaic-params-7b-t2048"},
    ),
    "11 LHKT for 12": (
        "model_flops_per_token",
        lambda P, L, H, K, T: 6 * P + 11 * L * H * K * T,
        {"nanogpt-palm-flops"},
    ),
    "grouped queries ignored": (
        "total_parameters",
        lambda a: parameters(replace(a, G=a.H)),
        {"llama3.1-8b-exact", "llama3.1-70b-exact"},
    ),
    "2PN for 6PN": (
        "training_flops",
        lambda P, N, k=6: 2 * P * N,
        {"gpt3-d1-gpt-3-small-flops", "sb-70b-flops"},
    ),
    "keys without values": (
        "cache_bytes",
        lambda B, T, L, G, K, e: B * T * L * G * K * e,
        {"vllm-opt13b-kv", "llama3-70b-kv-int8", "sb-kv-8gib"},
    ),
    "gradients not split": (
        "zero2_bytes",
        lambda P, n, k=12: 4 * P + k * P / n,
        {"zero-t1-1t-4-posg", "zero-t1-1t-16-posg"},
    ),
    "an unshared head": (
        "embedding_parameters",
        lambda V, D, tied=True: 2 * V * D,
        {"bloom-embed-params", "gemma-2b-nonemb"},
    ),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_wrong_formula_makes_discrepancies(plant, found, monkeypatch):
    name, wrong, known = PLANTS[plant]
    right = {row["id"] for row in found if row["agreement"] == "exact"}
    assert known <= right
    for module in FORMULAS:
        if name in vars(module):
            monkeypatch.setattr(module, name, wrong)
    now = {row["id"]: row["agreement"] for row in rows()}
    assert all(now[id] == "discrepancy" for id in known)
    assert {now[id] for id in right} == {"exact", "discrepancy"}


def test_the_errata_are_up_to_date(found):
    page = published.errata()
    assert page == (published.PAPERS / "errata.md").read_text(encoding="utf-8"), "run python -m bench.published --write"
    for row in found:
        assert (f"`{row['id']}`" in page) == (row["agreement"] == "discrepancy")


def test_the_commands(capsys):
    assert published.report(json=True, area="cache") == 0
    page = json.loads(capsys.readouterr().out)
    assert page["schema"] == 1 and {row["area"] for row in page["rows"]} == {"cache"}
    assert published.report() == 0
    text = capsys.readouterr().out
    assert all(area in text for area in tables()) and "gopher-train-flops" in text
