"""report.html: every formula of the claims is set in commands whose MathML was looked at, and failures are in sight."""

import re
from xml.etree import ElementTree

import pytest

from derivations.__main__ import claims
from derivations.typeset import chain
from verify.report import formula, write

SEEN = set(
    re.findall(
        r"\\(?:[A-Za-z]+|\\)",
        r"\alpha \beta \delta \epsilon \eta \kappa \lambda \mu \pi \tau \theta \sigma \nu \gamma \rho \phi \xi \Phi "
        r"\Delta \cdot \ell \cos \sin \log \sqrt \frac \sum \prod "
        r"\partial \left \right \max \min \lceil \rceil \operatorname \text \quad \substack \le \leq \ge \geq \ne \\",
    )
)
"""Commands of LaTeX that were rendered and compared by eye; the converter mangles some others without a word."""


@pytest.mark.parametrize("claim", list(claims([])), ids=lambda claim: claim.id)
def test_formulas_become_mathml(claim):
    for step in (line for part in claim.parts() for line in chain(part)):
        commands = set(re.findall(r"\\(?:[A-Za-z]+|\\)", step["latex"]))
        assert commands <= SEEN, f"look at how report.html shows {sorted(commands - SEEN)}, then list them here"
        tree = ElementTree.fromstring(formula(step))
        text = "".join(tree.itertext())
        assert tree.get("display") == "block" and text and "\\" not in text


def test_a_failure_stands_open_and_text_is_escaped(tmp_path):
    row = {"id": "rope.bad", "kind": "operation", "statement": "a < b & c", "status": "failed", "evidence": [],
           "problems": ["<b>broken</b>"], "code_hash": "0", "seconds": 0.1}  # fmt: skip
    ledger = {"tree": "0" * 64, "topics": ["rope"], "examples": 1, "versions": {"python": "3"},
              "summary": {"passed": 0, "failed": 1}, "rows": [row]}  # fmt: skip
    write(ledger, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<details id="rope.bad" open>' in page and "✗" in page
    assert "a &lt; b &amp; c" in page and "&lt;b&gt;broken&lt;/b&gt;" in page
