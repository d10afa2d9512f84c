"""The rows of the ledger: what is done for one claim, one operation, real input, the device and the house itself."""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path

from derivations.__main__ import claims

ROOT = Path(__file__).parent.parent
PASSED, FAILED, NOT_RUN = "passed", "failed", "not run here"
PROVED = {
    "all_sizes": "proved for all sizes",
    "enclosed": "certified",
    "instances": "proved for instances",
    "cited": "cited lemma, instances checked",
}


def evidence(kind: str, *found: str) -> list[dict]:
    """Pieces of evidence of one class."""
    return [{"class": kind, "what": what} for what in found]


def row(identifier, kind, statement, seen, problems=(), about=(), **more):
    """One row: it fails when there are problems, and then shows no evidence; without any it was not run."""
    status = FAILED if problems else PASSED if any(e["class"] != "not run" for e in seen) else NOT_RUN
    files = [ROOT / path for path in about if (ROOT / path).exists()]
    code = hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:16]
    shown = {"id": identifier, "kind": kind, "statement": statement, "status": status}
    return {**shown, "evidence": [] if problems else seen, "problems": [*problems], "code_hash": code, **more}


def of_claim(c, quick):
    """Prove a claim, then compare what it says with what its function computes."""
    from derivations.claim import POINTS, run
    from verify.claims import problem

    proof, topic = run(c, POINTS // 3 if quick else POINTS), c.id.partition(".")[0]
    problems = [] if proof["verdict"] == "holds" else [f"{c.id} is {proof['verdict']}: {proof['message']}"]
    seen = evidence(PROVED[c.scope], "; ".join(f"{engine}: {what}" for engine, what in proof["engines"].items()))
    if c.computes:
        wrong, worst, points = problem(c)
        problems += [wrong] if wrong else []
        seen += evidence("cross-checked", f"{c.code} at {points} points, largest relative difference {worst:.1e}")
    proof = {key: value for key, value in proof.items() if key not in ("id", "statement", "seconds")}
    files = (f"derivations/{c.module}.py", f"reference/{topic}.py")
    return row(c.id, "claim", c.statement, seen, problems, files, proof=proof, seed=c.id)


def of_operation(operation, count, quick):
    """Hold an operation to its laws, twin and mutants; a failure names the claims about the function."""
    from verify.mistake import mutants
    from verify.suite import glance, problems, run

    seen, wrong = (glance if quick else run)(operation, count), []
    topic = operation.name.partition(".")[0]
    if lines := problems(seen):
        all_ids = [c.id for c in claims([topic])]
        named = [c.id for c in claims([topic]) if c.code.startswith(f"reference.{operation.name}")]
        wrong = [f"{line} (bears on {', '.join(named or all_ids)})" for line in lines]
    killed = sum(map(any, (row.values() for row in seen.kills.values())))
    done = [
        f"{len(seen.reference_laws)} laws on {seen.examples} examples, reference{'' if quick else ' and JAX twin'}",
        f"twin: largest relative difference {seen.agreement:.1e}" if isinstance(seen.agreement, float) else "",
        *(f"{name}: {found.relative:.1e}" for name, found in seen.gradients.items()),
        f"{killed} mutants killed",
    ]
    left = f", {len(seen.kills) - killed} mutants that break no law" * (killed < len(seen.kills))
    cited = {m.__name__: {"id": m.mistake.id, "seen": m.mistake.seen, "fix": m.mistake.fix}
             for m in mutants(operation.name)}  # fmt: skip
    wings = ("reference", "verify", "verify/twin", "verify/mutant")
    paths = [p for wing in wings for p in (ROOT / wing / f"{topic}.py", *sorted((ROOT / wing).glob(f"{topic}_*.py")))]
    files = [str(p.relative_to(ROOT)) for p in paths]
    twin = "" if quick else " and agrees with its twin, gradients included"
    statement = f"reference.{operation.name} obeys its laws{twin}."
    more = {"kills": seen.kills, "mutants": cited, "examples": seen.examples}
    found = evidence("obeys its laws" if quick else "cross-checked", *filter(None, done))
    found += evidence("not run", f"the JAX twin, gradients{left}") if quick else []
    return row(f"reference.{operation.name}", "operation", statement, found, wrong, files, **more)


def of_trained_table(quick):
    """The table trained on real text against the proved optimum."""
    from verify.trained import NEAR, trained_table

    statement = "The table trained on real text is the optimum found numerically."
    if quick:
        return row("markov.trained_table", "real input", statement, evidence("not run", "a quick run trains nothing"))
    worst, lacking, seen = trained_table()
    far = (
        f"markov.trained_table differs by {worst:.2g} from the optimum (bears on markov.counting_is_maximum_likelihood)"
    )
    what = (
        f"{seen} symbols of real text: relative frequencies and L-BFGS on the likelihood differ by {worst:.1e}, "
        f"the optimizer still lacks {lacking:.1e} nats a symbol"
    )
    wrong = [] if worst <= NEAR else [far]
    return row(
        "markov.trained_table", "real input", statement, evidence("measured", what), wrong, ["reference/markov.py"]
    )


def of_device(operations):
    """Every operation on a GPU, where there is one."""
    import torch
    from torch.utils._pytree import tree_map

    from verify.compare import GAP, compare
    from verify.suite import examples

    statement = "On a CUDA device every operation agrees with its value on the CPU."
    if not torch.cuda.is_available():
        return row("device.cuda", "device", statement, evidence("not run", "no CUDA device"))
    wrong, worst = [], 0.0
    for operation in operations:
        topic, _, function = operation.name.partition(".")
        f = getattr(import_module(f"reference.{topic}"), function)
        for inputs in examples(operation, 5):
            there = tree_map(lambda x: x.cuda() if isinstance(x, torch.Tensor) else x, dict(inputs))
            here = tree_map(lambda x: x.cpu() if isinstance(x, torch.Tensor) else x, f(**there))
            worst = max(worst, found := compare(here, f(**inputs), operation.unit))
            wrong += [f"{operation.name} on CUDA differs by {found:.2g}"] if found > GAP else []
    return row(
        "device.cuda", "device", statement, evidence("measured", f"{torch.cuda.get_device_name()}: {worst:.1e}"), wrong
    )


def articles(chosen):
    """The pages of some topics; of all topics, every page there is."""
    from derivations.__main__ import topics

    pages = sorted([*ROOT.glob("README.md"), *(ROOT / "papers").glob("*.md")])
    return [page for page in pages if page.stem in chosen or set(chosen) == set(topics())]


def of_article(page: Path, quick):
    """Everything on a page is as the code says now, and every formula is a claim or called a definition."""
    from verify.articles import problems

    name, statement = f"papers.{page.stem}", f"{page.name} says what the code proves and prints now."
    if quick:
        return row(name, "structure", statement, evidence("not run", "a quick run reads no articles"))
    done = evidence("cross-checked", "claims and their formulas, code and what it prints")
    return row(name, "structure", statement, done, problems([page]), [page.relative_to(ROOT)])


def of_the_house():
    """Imports, wings and pointers."""
    from verify import boundaries

    statement = "Arrows point one way, wings are complete, every pointer is alive."
    done = evidence("cross-checked", "imports, wings, stems, code=, sources, citations")
    return row("boundaries", "structure", statement, done, boundaries.problems())
