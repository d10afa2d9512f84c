"""The shape of the house: who may import what, complete wings with the same stems, and pointers that are alive."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from derivations.__main__ import claims, topics

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "reference": {"reference"},
    "derivations": {"derivations"},
    "verify": {"reference", "derivations", "verify"},
    "bench": {"reference", "derivations", "bench", "verify"},
}
LIBRARIES = {"derivations": {"torch", "jax"}, "reference": {"jax", "sympy"}}  # what a wing must not touch
TWINS_IMPORT = {"jax", "numpy", "math"}
WINGS = (
    "reference/{}.py",
    "derivations/{}.py",
    "verify/{}.py",
    "verify/twin/{}.py",
    "verify/mutant/{}.py",
    "papers/{}.md",
)
PRICED = {"memory", "flops"}  # topics that say what others cost: nothing of their own is computed
PRICED_WINGS = ("derivations/{}.py", "papers/{}.md", "bench/{}.py")


def imports(path: Path):
    """Every module imported anywhere in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


def wrong_imports():
    for wing, allowed in MAY_IMPORT.items():
        for path in sorted((ROOT / wing).rglob("*.py")):
            where = path.relative_to(ROOT)
            for module in imports(path):
                top = module.partition(".")[0]
                if (top in MAY_IMPORT and top not in allowed) or top in LIBRARIES.get(wing, ()):
                    yield f"{where} imports {module}, which {wing} may not"
                measures_verify = where == Path("bench/oracle.py")
                if wing == "bench" and top == "verify" and not module.startswith("verify.twin") and not measures_verify:
                    yield f"{where} imports {module}; bench may see verify.twin only"
                if path.parent.name == "twin" and top not in TWINS_IMPORT | {"__future__", "collections", "functools"}:
                    yield f"{where} imports {module}; a twin imports jax, numpy and math only"


def computed(chosen=None):
    """Of the chosen topics (all, if none is named) those that have operations."""
    return [topic for topic in chosen or topics() if topic not in PRICED]


def wrong_wings():
    for topic in topics():
        for wing in PRICED_WINGS if topic in PRICED else WINGS:
            if not (ROOT / wing.format(topic)).exists():
                yield f"topic {topic} has no {wing.format(topic)}"
    for empty in ROOT.glob("*/**/__init__.py"):
        if ".nox" not in empty.parts and empty.read_text():
            yield f"{empty.relative_to(ROOT)} is not empty"


def bibliography():
    """The keys of the one bibliography."""
    path = ROOT / "papers/references.bib"
    return set(re.findall(r"^@\w+\{([^,\s]+)", path.read_text(encoding="utf-8"), re.M)) if path.exists() else set()


def wrong_pointers():
    keys, known = bibliography(), {c.id for c in claims()}
    for c in claims():
        module, _, name = c.code.rpartition(".")
        if not (find_spec(module) and hasattr(import_module(module), name)):
            yield f"{c.id}: code={c.code} does not exist"
        for source in c.source.split("; "):
            key = re.split(r"[,\s]", source)[0]
            if key not in keys:
                yield f"{c.id}: the source {key} is not in papers/references.bib"
    for path in sorted((ROOT / "reference").glob("*.py")):
        for key in re.findall(r"\b([a-z]+\d{4}[a-z]+)\b", path.read_text(encoding="utf-8")):
            if key not in keys:
                yield f"{path.name}: the source {key} is not in papers/references.bib"
    cited: set[str] = set()
    for article in sorted((ROOT / "papers").glob("*.md")):
        text = article.read_text(encoding="utf-8")
        found = set(re.findall(r"`((?:" + "|".join(topics()) + r")\.[a-z_0-9]+)`\]", text))
        cited |= found
        yield from (f"papers/{article.name} cites {name}, which is no claim" for name in sorted(found - known))
    yield from (f"no article cites the claim {name}" for name in sorted(known - cited))


NAMED = re.compile(r"(?<![\w/.-])((?:papers|reference|derivations|verify|bench|tests|tests_interop)/[\w./-]+\.\w+)")


def missing_files():
    """Files of the house that a text names, and that are not there."""
    wings = [*MAY_IMPORT, "papers", "tests", "tests_interop"]
    texts = [path for wing in wings for path in sorted((ROOT / wing).rglob("*")) if path.suffix in (".py", ".md")]
    for path in [*texts, *sorted(ROOT.glob("*.md"))]:
        for name in sorted(set(NAMED.findall(path.read_text(encoding="utf-8")))):
            if not (ROOT / name).exists():
                yield f"{path.relative_to(ROOT)} names {name}, which does not exist"


def open_entries():
    """Entries of the bibliography that are not closed before the next one begins."""
    for entry in re.split(r"^(?=@)", (ROOT / "papers/references.bib").read_text(encoding="utf-8"), flags=re.M)[1:]:
        if entry.count("{") != entry.count("}"):
            yield f"papers/references.bib: the entry {entry.partition(',')[0]} is not closed"


def problems() -> list[str]:
    """Everything out of place, a sentence each."""
    return [*wrong_imports(), *wrong_wings(), *wrong_pointers(), *missing_files(), *open_entries()]
