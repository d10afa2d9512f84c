r"""Articles hold nothing typed twice: python -m verify.articles [TOPIC…] [--write]. Exit 0: all are up to date, else 1.

Three things are generated, and compared with what the files say:
* between `<!-- claim ID -->` and `<!-- end -->`: statement, formulas and links of a claim;
* the ```text block after a ```python block: what the code prints, all code of an article sharing its names;
* between `<!-- topics -->` and `<!-- end -->` in README.md: the table of topics and wings.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from pathlib import Path

from derivations.__main__ import claims
from derivations.typeset import chain
from verify.boundaries import PRICED

ROOT = Path(__file__).parent.parent
ORDER = {
    "markov": "what a language model is: probabilities by counting",
    "information": "what a prediction is worth, in bits",
    "sampling": "a distribution becomes the next word",
    "autodiff": "derivatives of programs, forward and in reverse",
    "backprop": "the backward pass, written by hand",
    "softmax": "scores become a distribution",
    "loss": "what training minimizes, and its gradient",
    "activations": "what a network bends its numbers with",
    "mlp": "a language model that learns what words are like",
    "optimizers": "how the gradient moves the parameters",
    "schedules": "how far it moves them, and when",
    "initialization": "where the parameters start",
    "normalization": "what keeps the numbers in range through depth",
    "attention": "which words a word looks at",
    "transformer": "heads and layers, added to one stream",
    "positions": "where a word stands, told by adding",
    "rope": "where a word stands, told by turning",
    "bpe": "a text becomes tokens, by merging what is frequent",
    "unigram": "a text becomes tokens, by the most probable pieces",
    "memory": "what training takes in bytes",
    "flops": "what training takes in operations",
    "flash": "attention without its matrix",
    "checkpointing": "what is computed twice need not be kept",
    "precision": "numbers of few bits, and what they lose",
}
WINGS = (
    "papers/{}.md",
    "derivations/{}.py",
    "reference/{}.py",
    "verify/{}.py",
    "verify/twin/{}.py",
    "verify/mutant/{}.py",
    "bench/{}.py",
)
CLAIM = re.compile(r"(<!-- claim ([\w.]+) -->\n).*?(<!-- end -->)", re.S)
CODE = re.compile(r"(```python\n(.*?)```\n)(\n```text\n.*?```\n)?", re.S)
TABLE = re.compile(r"(<!-- topics -->\n).*?(<!-- end -->)", re.S)
SCOPES = {
    "all_sizes": "proved for all sizes",
    "instances": "proved for instances",
    "enclosed": "certified by enclosure",
    "cited": "a cited lemma, instances checked",
}


def formula(part) -> str:
    """A chain as one display."""
    first, *rest = chain(part)
    relation = {"=": "=", "≤": r"\le", "≥": r"\ge", "≠": r"\ne"}
    lines = [first["latex"], *(rf"{relation[line['relation']]} {line['latex']}" for line in rest)]
    return "$$\n\\begin{aligned}\n& " + " \\\\\n& ".join(lines) + "\n\\end{aligned}\n$$\n"


def told(c) -> str:
    """Statement, chains, hypotheses and links of one claim."""
    topic, (module, _, name) = c.id.partition(".")[0], c.code.rpartition(".")
    links = [
        f"Claim [`{c.id}`](../derivations/{c.module}.py)",
        SCOPES[c.scope],
        f"code [`{name}`](../{module.replace('.', '/')}.py)",
        f"cost [`bench/{topic}.py`](../bench/{topic}.py)"
        if topic in PRICED
        else f"check [`verify/{topic}.py`](../verify/{topic}.py)",
    ]
    return f"**{c.statement}**\n\n" + "\n".join(map(formula, c.parts())) + "\n" + " · ".join(links) + "\n"


def topics_table() -> str:
    """Topic × wing, in the order of reading; a dash where a topic has nothing in a wing."""
    rows = ["| topic | article | derivation | code | laws | twin | mutants | cost |", "|---" * 8 + "|"]
    for topic, idea in ORDER.items():
        paths = [wing.format(topic) for wing in WINGS]
        cells = [f"[{Path(p).name}]({p})" if (ROOT / p).exists() else "–" for p in paths]
        rows.append(f"| **{topic}**: {idea} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def regenerated(path: Path) -> str:
    """The text of a file with everything generated anew.

    Raises ValueError for an unknown claim or failing code.
    """
    text, known, names = path.read_text(encoding="utf-8"), {c.id: c for c in claims()}, dict[str, object]()

    def fill(match):
        if match[2] not in known:
            raise ValueError(f"{path.name}: no claim is called {match[2]}")
        return match[1] + told(known[match[2]]) + match[3]

    def executed(match):
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                exec(compile(match[2], str(path), "exec"), names)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise ValueError(f"{path.name}: the code {match[2][:40]!r}… fails: {what}") from error
        return match[1] + (f"\n```text\n{printed.getvalue()}```\n" if printed.getvalue() else "")

    text = CLAIM.sub(fill, text)
    if path.parent.name == "papers":
        text = CODE.sub(executed, text)
    return TABLE.sub(lambda m: m[1] + topics_table() + m[2], text)


def bare_formulas(path: Path):
    """Displayed formulas, outside generated ones, that are not marked as definitions below."""
    text = CLAIM.sub("", path.read_text(encoding="utf-8"))
    for match in re.finditer(r"\$\$(.+?)\$\$\n*(.{0,12})", text, re.S):
        if not match[2].startswith("Definition"):
            formula = " ".join(match[1].split())[:60]
            yield f"{path.name}: the formula {formula} has no claim and is not called a definition"


def problems(pages, write: bool = False) -> list[str]:
    """What is out of date or names nothing, a sentence each; with `write` the files are brought up to date."""
    found, started_in = [], Path.cwd()
    os.chdir(ROOT)  # code in the articles names files from the root
    try:
        for path in pages:
            try:
                fresh = regenerated(path)
            except ValueError as error:
                found.append(str(error))
                continue
            if fresh != path.read_text(encoding="utf-8"):
                if write:
                    path.write_text(fresh, encoding="utf-8")
                else:
                    found.append(f"{path.name} is out of date: run python -m verify.articles --write")
            found += bare_formulas(path) if path.parent.name == "papers" else []
    finally:
        os.chdir(started_in)
    return found


def main(argv) -> int:
    """Check or write the pages of the topics named, or all, and the README's table."""
    named = [argument for argument in argv if argument != "--write"]
    every = {page.stem: page for page in sorted((ROOT / "papers").glob("*.md"))}
    if unknown := [name for name in named if name not in every]:
        print(f"unknown article {unknown[0]!r}: expected one of {', '.join(every)}", file=sys.stderr)
        return 2
    pages = [every[name] for name in named or every]
    wrong = problems([ROOT / "README.md", *pages], write="--write" in argv)
    print("\n".join(wrong) or "every article is up to date")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
