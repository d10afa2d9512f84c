"""Every claim holds, with its mistakes refuted and its hypotheses needed; the command line says so."""

import json
import subprocess
import sys

import pytest

from derivations.__main__ import claims, main, topics
from derivations.claim import run
from derivations.topics import stems, topic_of

CLAIMS = list(claims())


@pytest.mark.parametrize("c", CLAIMS, ids=lambda c: c.id)
def test_claim_holds(c):
    row = run(c)
    assert row["verdict"] == "holds", row["message"]
    assert len(row["mistakes"]) == len(c.mistakes) and all(m["witness"] for m in row["mistakes"])
    assert all(need["witness"] for need in row["needed"])


def test_five_forms_and_all_sizes():
    forms = {part.form for c in CLAIMS for part in c.parts()}
    assert forms == {"equal", "below", "optimal", "induct", "expect", "finite"}
    narrower = {c.id: c.why for c in CLAIMS if c.scope != "all_sizes"}
    assert set(narrower) == {
        "activations.quick_gelu_error_bound",
        "activations.tanh_gelu_error_bound",
        "autodiff.partial_derivatives_do_not_suffice",
        "bpe.greedy_merges_are_not_optimal",
        "bpe.one_to_one_codes_can_beat_entropy",
        "information.huffman_is_optimal_up_to_five",
        "markov.laplace_is_not_the_posterior_mode",
        "memory.peak_is_one_of_four_instants",
        "optimizers.five_steps_suffice_from_a_three_hundredth",
        "optimizers.newton_schulz_gathers_singular_values",
        "sampling.greedy_is_not_the_likeliest_text",
        "sampling.repetition_penalty_depends_on_the_shift",
        "sampling.temperature_and_truncation_do_not_commute",
        "unigram.longest_match_is_not_the_fewest",
    }
    assert all(narrower.values()), "a narrower scope says why"


def test_ids_are_unique_and_topics_are_complete():
    assert len({c.id for c in CLAIMS}) == len(CLAIMS)
    assert {c.id.partition(".")[0] for c in CLAIMS} == set(topics())


def test_a_file_beside_a_topic_belongs_to_it():
    assert topic_of("optimizers_rates") == topic_of("optimizers") == "optimizers"
    assert topic_of("data_parallel") == "data_parallel", "there is no file data.py"
    assert stems("optimizers")[0] == "optimizers" and len(stems("optimizers")) > 1
    found = list(claims(["optimizers"]))
    assert [*dict.fromkeys(c.module for c in found)] == stems("optimizers")
    assert all(c.id.startswith("optimizers.") for c in found)
    assert sorted(stems()) == sorted(stem for topic in topics() for stem in stems(topic))


def test_json_follows_the_schema(capsys):
    assert main(["loss", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    keys = {
        "id",
        "statement",
        "source",
        "form",
        "given",
        "scope",
        "verdict",
        "engines",
        "mistakes",
        "needed",
        "seconds",
    }
    for row in document["claims"]:
        assert keys <= set(row)
        assert set(row["engines"]) == {"symbolic", "numeric"}
        assert all(set(m) == {"name", "verdict", "witness"} for m in row["mistakes"])


def test_unknown_topic_is_one_line_and_exit_2(capsys):
    assert main(["nonsense"]) == 2
    seen = capsys.readouterr()
    assert seen.out == "" and seen.err.count("\n") == 1
    assert all(topic in seen.err for topic in topics())


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_verdicts_do_not_depend_on_hashing_and_torch_stays_away(seed):
    code = (
        "import sys, json; from derivations.__main__ import claims; from derivations.claim import run;"
        "rows = [run(c) for c in claims(['softmax', 'optimizers'])];"
        "print(json.dumps([[r['id'], r['verdict'], r['mistakes'], r['needed']] for r in rows]));"
        "assert not {'torch', 'jax', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PATH": ""}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    ours = [run(c) for c in claims(["softmax", "optimizers"])]
    assert [row[:2] for row in rows] == [[r["id"], r["verdict"]] for r in ours]


def test_a_false_default_turns_the_run_red(monkeypatch, capsys):
    """What a user would do by accident: swap the truth and a mistake."""
    from derivations import softmax

    true = softmax.softmax_jacobian.body.__defaults__
    monkeypatch.setattr(softmax.softmax_jacobian.body, "__defaults__", (0,))
    assert main(["softmax"]) == 1
    assert "✗ softmax.softmax_jacobian" in capsys.readouterr().out
    monkeypatch.setattr(softmax.softmax_jacobian.body, "__defaults__", true)
