"""report.html: the ledger as one page, without network and readable without JavaScript; formulas are MathML."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from latex2mathml.converter import convert
from markupsafe import Markup

from verify.articles import ORDER

RELATIONS = {"=": "=", "≤": r"\le", "≥": r"\ge", "≠": r"\ne"}
MARKS = {"passed": "∎", "failed": "✗", "not run here": "–"}


def formula(step) -> Markup:
    """The expression of one step as MathML, its relation in front."""
    return Markup(convert(f"{RELATIONS.get(step['relation'], '')} {step['latex']}", display="block"))


def columns(kills) -> list[str]:
    """Every law, and the twin, that some mutant of an operation was held to."""
    return list(dict.fromkeys(column for found in kills.values() for column in found))


def write(ledger, path: Path) -> None:
    """Write the page: a section for each topic in the order of reading, the kernels, then the house and the devices."""
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=folder, autoescape=select_autoescape(["html"]), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    sections = {
        topic: [row for row in ledger["rows"] if row["id"].removeprefix("reference.").startswith(f"{topic}.")]
        for topic in sorted(ledger["topics"], key=[*ORDER, "kernels"].index)
    }
    inside = {row["id"] for rows in sections.values() for row in rows}
    sections["the house"] = [row for row in ledger["rows"] if row["id"] not in inside]
    page = environment.get_template("report.html").render(
        ledger=ledger, sections=sections, marks=MARKS, formula=formula, columns=columns
    )
    path.write_text(page, encoding="utf-8")
