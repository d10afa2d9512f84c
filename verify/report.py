"""report.html: the ledger as one page, without network and readable without JavaScript; formulas are MathML."""

from __future__ import annotations

from html import escape
from pathlib import Path

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --dim: #666; --line: #ddd; --good: #18794e; --bad: #c62828;
  --mid: #996a00; --paper: #fffdf8 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e6e0; --dim: #a09c94; --line: #3a3833; --good: #5fc492;
  --bad: #ff8a80; --mid: #e2b53f; --paper: #191815 } }
body { font: 16px/1.5 Charter, Georgia, serif; color: var(--ink); background: var(--paper); max-width: 58rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-weight: 600; margin-bottom: 0 } h2 { margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--line) }
summary { cursor: pointer; padding: .25rem 0 } .passed { color: var(--good) } .failed { color: var(--bad) }
.not { color: var(--mid) } code, .mono { font: 13px/1.5 ui-monospace, Menlo, Consolas, monospace }
.dim { color: var(--dim) } .chain { margin: .4rem 0 .4rem 1rem; border-left: 2px solid var(--line); padding-left: 1rem }
.step { overflow-x: auto; padding: .25rem 0 } .reason { color: var(--dim); font-style: italic; margin-left: 2.2rem }
table { border-collapse: collapse; font-size: 14px } td, th { padding: .15rem .6rem; text-align: left;
  vertical-align: top;   border-bottom: 1px solid var(--line) } .matrix td, .matrix th { text-align: center } .matrix th:first-child,
.matrix td:first-child { text-align: left } .wide { overflow-x: auto } details { margin: .15rem 0 }
.big { font-size: 1.6rem; font-weight: 600 } .tiles { display: flex; gap: 2.2rem; flex-wrap: wrap; margin: 1rem 0 }
"""
MARK = {"passed": "∎", "failed": "✗", "not run here": "–"}


def mathml(latex: str) -> str:
    """LaTeX as MathML by latex2mathml's independent successor when installed, else the source in a code element."""
    return f"<code>{escape(latex)}</code>"


def chain(steps) -> str:
    lines = []
    for step in steps:
        if not step["relation"]:
            lines.append(f'<div class="dim">{escape(step["reason"])}</div><div class="step">{step["mathml"]}</div>')
        else:
            lines.append(
                f'<div class="step">{step["relation"]} {step["mathml"]}</div>'
                f'<div class="reason">{escape(step["reason"])}</div>'
            )
    return f'<div class="chain">{"".join(lines)}</div>'


def witnesses(title, rows) -> str:
    body = "".join(f"<tr><td>{escape(r['name'])}</td><td class=mono>{escape(r['witness'])}</td></tr>" for r in rows)
    return f"<table><tr><th>{title}</th><th>witness</th></tr>{body}</table>" if rows else ""


def claim(row) -> str:
    proof = row["proof"]
    scope = proof["scope"].replace("_", " ") + (f" — {proof['why']}" if proof["why"] else "")
    facts = [
        ("source", proof["source"]),
        ("form", proof["form"]),
        ("given", ", ".join(proof["given"]) or "nothing"),
        ("scope", scope),
        ("code", proof["code"]),
    ]
    head = "".join(f"<tr><th>{k}</th><td>{escape(v)}</td></tr>" for k, v in facts)
    return (
        f"<table>{head}</table>{chain(proof['steps'])}"
        + witnesses("mistake refuted", proof["mistakes"])
        + witnesses("without the hypothesis", proof["needed"])
    )


def matrix(row) -> str:
    """Which law (or the twin) kills which mutant."""
    kills, mutants = row["kills"], row["mutants"]
    columns = list(dict.fromkeys(column for found in kills.values() for column in found))
    head = "".join(f"<th>{escape(c.replace('_', ' '))}</th>" for c in columns)
    body = ""
    for name, found in kills.items():
        cells = "".join(f"<td>{'×' if found.get(c) else '·'}</td>" for c in columns)
        origin = f"{mutants[name]['seen']} — {mutants[name]['fix']}"
        body += (
            f'<tr><td>{escape(name.replace("_", " "))}<br><span class="dim">{escape(origin)}</span></td>{cells}</tr>'
        )
    return f'<div class="wide"><table class="matrix"><tr><th>mutant</th>{head}</tr>{body}</table></div>'


def entry(row) -> str:
    classes = ", ".join(dict.fromkeys(e["class"] for e in row["evidence"])) or row["status"]
    inside = "".join(f"<li><b>{escape(e['class'])}</b>: {escape(e['what'])}</li>" for e in row["evidence"])
    inside = f"<ul>{inside}</ul>" + "".join(f'<p class="failed">{escape(p)}</p>' for p in row["problems"])
    inside += claim(row) if row["kind"] == "claim" else matrix(row) if row.get("kills") else ""
    status = row["status"].split()[0]
    return (
        f'<details{" open" if row["problems"] else ""} id="{row["id"]}"><summary><span class="{status}">'
        f"{MARK[row['status']]}</span> <code>{row['id']}</code> — {escape(row['statement'])} "
        f'<span class="dim">{classes}</span></summary>{inside}</details>'
    )


def write(ledger, path: Path) -> None:
    """Write the page."""
    s = ledger["summary"]
    tiles = [
        (f"{s['claims proved']}/{s['claims']}", "claims proved"),
        (s["mistakes refuted"], "mistakes refuted"),
        (s["mutants killed"], "mutants killed"),
        (s["failed"], "rows failed"),
        (s["not run here"], "not run here"),
    ]
    top = "".join(f'<div><div class="big">{value}</div><div class="dim">{label}</div></div>' for value, label in tiles)
    versions = ", ".join(f"{k} {v}" for k, v in ledger["versions"].items())
    body = ""
    for kind, title in (
        ("claim", "Claims"),
        ("operation", "Operations"),
        ("real input", "Real input"),
        ("structure", "Structure"),
        ("device", "Devices"),
    ):
        found = [row for row in ledger["rows"] if row["kind"] == kind]
        body += f"<h2>{title}</h2>" + "".join(map(entry, found)) if found else ""
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Demonstrandum: the ledger</title><style>{STYLE}</style><h1>Demonstrandum</h1>"
        f'<p class="dim">{escape(ledger["profile"])} an operation · tree {ledger["tree"][:12]} · {escape(versions)}</p>'
        f'<div class="tiles">{top}</div>{body}</html>\n',
        encoding="utf-8",
    )
