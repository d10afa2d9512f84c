"""The articles, the README and the house: nothing out of date, no dead pointer, planted faults seen."""

import textwrap
from pathlib import Path

import pytest

from derivations.__main__ import topics
from derivations.claim import Claim, run
from verify import articles, boundaries
from verify.rows import articles as articles_of

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("page", articles_of(topics()), ids=lambda page: page.stem)
def test_an_article_is_up_to_date(page):
    assert articles.problems([page]) == []


def test_every_topic_is_in_the_reading_order():
    assert set(articles.ORDER) == set(topics())


def test_the_claim_in_the_readme_holds():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = text.partition("    # derivations/softmax.py\n")[2].partition("\n\n`python")[0]
    names = dict(vars(__import__("derivations.softmax", fromlist=["claim"])))
    exec(textwrap.dedent(code), names)
    (new,) = [v for k, v in names.items() if isinstance(v, Claim) and k == "log_odds_are_score_differences"]
    row = run(new)
    assert row["verdict"] == "holds", row["message"]


def test_formulas_in_articles_are_claims_or_definitions(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("$$\na = b\n$$\n\nSo we see.\n\n$$\nc = d\n$$\n\nDefinition. It is so.\n")
    assert [*articles.bare_formulas(page)] == ["page.md: the formula a = b has no claim and is not called a definition"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- claim loss.nonsense -->\n<!-- end -->\n", "no claim is called loss.nonsense"),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
    ],
    ids=["unknown claim", "failing code"],
)
def test_what_cannot_be_generated_is_told(tmp_path, text, message):
    page = tmp_path / "papers" / "page.md"
    page.parent.mkdir()
    page.write_text(text)
    with pytest.raises(ValueError, match=message):
        articles.regenerated(page)


def test_a_number_typed_by_hand_is_out_of_date(tmp_path):
    page = tmp_path / "papers" / "page.md"
    page.parent.mkdir()
    page.write_text("```python\nprint(2 + 2)\n```\n\n```text\n5\n```\n")
    assert "\n4\n" in articles.regenerated(page)


def test_the_house_is_in_order():
    assert boundaries.problems() == []


PLANTED = {
    "reference/softmax.py": ("import torch\n", "import torch\nimport jax\n", "imports jax, which reference may not"),
    "derivations/softmax.py": ("from sympy", "import torch\nfrom sympy", "imports torch, which derivations may not"),
    "verify/twin/softmax.py": ("import jax\n", "import jax\nimport torch\n", "a twin imports jax, numpy and math only"),
    "verify/twin/loss.py": ("import jax\n", "import jax\nfrom reference import loss\n", "a twin imports"),
    "bench/meter.py": (
        "import torch\n",
        "import torch\nfrom verify.suite import run\n",
        "may see verify.twin only",
    ),
    "papers/references.bib": (
        "@article{blanchard2021logsumexp",
        "@article{blanchard",
        "is not in papers/references.bib",
    ),
    "papers/references.bib: an entry": ("  year    = {2014}\n}\n", "  year    = {2014}\n", "is not closed"),
    "reference/flash.py": ("flash.md", "flush.md", "flush.md, which does not exist"),
    "papers/loss.md": ("[`loss.cross_entropy_gradient_is_p_minus_y`]", "[`loss.p_minus_y`]", "which is no claim"),
    "verify/__init__.py": ("", "x = 1\n", "is not empty"),
    "reference/rope.py": (None, None, "topic rope has no reference/rope.py"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_in_the_house_is_seen(name, tmp_path, monkeypatch):
    """A copy of the house with one fault in it."""
    import shutil

    for wing in ("reference", "derivations", "verify", "bench", "papers", "tests", "tests_interop"):
        shutil.copytree(ROOT / wing, tmp_path / wing, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(boundaries, "ROOT", tmp_path)
    assert boundaries.problems() == []
    old, new, message = PLANTED[name]
    path = tmp_path / name.partition(":")[0]
    if old is None:
        path.unlink()
    else:
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert any(message in line for line in boundaries.problems()), boundaries.problems()


def test_a_dead_code_pointer_is_seen(monkeypatch):
    import reference.loss

    monkeypatch.delattr(reference.loss, "cross_entropy_gradient")
    assert any("code=reference.loss.cross_entropy_gradient does not exist" in line for line in boundaries.problems())
