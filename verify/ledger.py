"""The ledger: one row per claim, per operation and per check on real input, each with its evidence and its class.

Rows are appended to `ledger.partial.jsonl` as they come, so that an interrupted run of the same tree goes on where it
stopped; a complete run writes `ledger.json`. Classes of evidence are explained in TRUST.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from importlib import import_module, metadata
from pathlib import Path

from derivations.__main__ import claims, topics

ROOT = Path(__file__).parent.parent
PROVED = {
    "all_sizes": "proved for all sizes",
    "enclosed": "certified",
    "instances": "proved for instances",
    "cited": "cited lemma, instances checked",
}
PASSED, FAILED, NOT_RUN = "passed", "failed", "not run here"


def tree_hash() -> str:
    """One hash of everything a row depends on."""
    files = sorted(p for wing in ("reference", "derivations", "verify") for p in (ROOT / wing).rglob("*.py"))
    content = [hashlib.sha256(p.read_bytes()).hexdigest() + str(p.relative_to(ROOT)) for p in files]
    return hashlib.sha256("".join(content).encode()).hexdigest()


def code_hash(*paths: str) -> str:
    """The hash of the files a row is about."""
    files = [ROOT / path for path in paths if (ROOT / path).exists()]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:16]


def row(identifier, kind, statement, evidence, problems, code=(), status=None, **more):
    """One row; without a given status it passes exactly when nothing is wrong."""
    return {
        "id": identifier,
        "kind": kind,
        "statement": statement,
        "status": status or (FAILED if problems else PASSED),
        "evidence": evidence,
        "problems": problems,
        "code_hash": code_hash(*code),
        **more,
    }


def claim_row(c):
    """Prove a claim, then compare what it says with what its function computes."""
    from derivations.claim import run
    from verify.claims import problem

    proof = run(c)
    problems = [] if proof["verdict"] == "holds" else [f"{c.id} is {proof['verdict']}: {proof['message']}"]
    evidence = [{"class": PROVED[c.scope], "what": "; ".join(f"{k}: {v}" for k, v in proof["engines"].items())}]
    evidence = [] if problems else evidence
    if c.computes:
        wrong, worst, points = problem(c)
        problems += [wrong] if wrong else []
        if not wrong:
            evidence.append(
                {
                    "class": "cross-checked",
                    "what": f"{c.code} at {points} points, largest relative difference {worst:.1e}",
                }
            )
    topic = c.id.partition(".")[0]
    return row(
        c.id,
        "claim",
        c.statement,
        evidence,
        problems,
        (f"derivations/{topic}.py", f"reference/{topic}.py"),
        proof={k: v for k, v in proof.items() if k not in ("id", "statement", "seconds")},
        seed=c.id,
    )


def operation_row(operation, count):
    """Hold an operation to its laws, twin and mutants; name the claims about a function that fails."""
    from verify.mistake import mutants
    from verify.suite import problems, run

    seen = run(operation, count)
    topic, _, function = operation.name.partition(".")
    wrong = problems(seen)
    about = [c.id for c in claims([topic]) if c.code.startswith(f"reference.{topic}.{function}")] if wrong else []
    about = about or ([c.id for c in claims([topic])] if wrong else [])
    wrong = [f"{line} (bears on {', '.join(about)})" for line in wrong]
    what = [
        f"{len(seen.reference_laws)} laws on {seen.examples} examples, reference and JAX twin",
        f"twin: largest relative difference {seen.agreement:.1e}" if isinstance(seen.agreement, float) else "twin",
        *(f"{name}: {found.relative:.1e}" for name, found in seen.gradients.items()),
        f"{len(seen.kills)} mutants killed",
    ]
    cited = {
        m.__name__: {"id": m.mistake.id, "seen": m.mistake.seen, "fix": m.mistake.fix} for m in mutants(operation.name)
    }
    return row(
        operation.name,
        "operation",
        f"reference.{operation.name} obeys its laws and agrees with its twin.",
        [] if wrong else [{"class": "cross-checked", "what": line} for line in what],
        wrong,
        (f"reference/{topic}.py", f"verify/{topic}.py", f"verify/twin/{topic}.py", f"verify/mutant/{topic}.py"),
        kills=seen.kills,
        mutants=cited,
        examples=seen.examples,
    )


def trained_row():
    """The trained table of real text against the proved optimum."""
    from verify.trained import NEAR, trained_table

    worst, lacking, seen = trained_table()
    wrong = (
        []
        if worst <= NEAR
        else [
            f"markov.trained_table: the trained table differs by {worst:.2g} from the optimum "
            "found numerically (bears on markov.counting_is_maximum_likelihood)"
        ]
    )
    what = (
        f"{seen} symbols of real text: relative frequencies and L-BFGS on the likelihood differ by {worst:.1e}, "
        f"the optimizer still lacks {lacking:.1e} nats a symbol"
    )
    return row(
        "markov.trained_table",
        "real input",
        "The table trained on real text is the optimum found numerically.",
        [] if wrong else [{"class": "measured", "what": what}],
        wrong,
        ("reference/markov.py",),
    )


def device_row(operations):
    """Every operation on a GPU, where there is one."""
    import torch

    statement = "On a CUDA device every operation agrees with its value on the CPU."
    if not torch.cuda.is_available():
        return row(
            "device.cuda", "device", statement, [{"class": "not run", "what": "no CUDA device"}], [], status=NOT_RUN
        )
    from verify.compare import GAP, compare
    from verify.suite import examples

    wrong, worst = [], 0.0
    for operation in operations:
        topic, _, function = operation.name.partition(".")
        f = getattr(import_module(f"reference.{topic}"), function)
        for inputs in examples(operation, 5):
            there = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
            worst = max(worst, found := compare(f(**there).cpu(), f(**inputs)))
            wrong += [f"{operation.name} on CUDA differs by {found:.2g}"] if found > GAP else []
    name = torch.cuda.get_device_name()
    return row("device.cuda", "device", statement, [{"class": "measured", "what": f"{name}: {worst:.1e}"}], wrong)


def plan(chosen, count):
    """(id, function computing the row) in order: the claims, the operations, real input, the device."""
    operations = [o for topic in chosen for o in import_module(f"verify.{topic}").OPERATIONS]
    yield from ((c.id, lambda c=c: claim_row(c)) for c in claims(chosen))
    yield from ((o.name, lambda o=o: operation_row(o, count)) for o in operations)
    if "markov" in chosen:
        yield "markov.trained_table", trained_row
    yield "boundaries", boundaries_row
    yield "device.cuda", lambda: device_row(operations)


def boundaries_row():
    """Imports, wings and pointers."""
    from verify.boundaries import problems

    wrong = problems()
    done = [] if wrong else [{"class": "cross-checked", "what": "imports, wings, stems, code=, sources, articles"}]
    return row(
        "boundaries", "structure", "Arrows point one way, wings are complete, every pointer is alive.", done, wrong
    )


def build(chosen, count, out: Path, profile: str, tell):
    """Run the plan, keeping every row as it comes; returns the ledger. `tell(row, number, total)` shows progress."""
    chosen = list(chosen or topics())
    tree, partial = tree_hash() + f" {profile} {' '.join(chosen)}", out / "ledger.partial.jsonl"
    kept = _kept(partial, tree)
    steps, rows = list(plan(chosen, count)), []
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"tree": tree}) + "\n")
        for number, (identifier, make) in enumerate(steps, 1):
            started = time.perf_counter()
            made = kept.get(identifier) or make()
            made.setdefault("seconds", round(time.perf_counter() - started, 3))
            rows.append(made)
            file.write(json.dumps(made, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            tell(made, number, len(steps))
    names = ("torch", "jax", "sympy", "python-flint", "z3-solver", "hypothesis", "numpy")
    ledger = {
        "schema": 1,
        "tree": tree_hash(),
        "topics": chosen,
        "profile": profile,
        "versions": {"python": platform.python_version(), **{n: metadata.version(n) for n in names}},
        "summary": summary(rows),
        "rows": rows,
    }
    (out / "ledger.json").write_text(json.dumps(ledger, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.unlink()
    return ledger


def summary(rows):
    """How many rows of each status, and how many mistakes and mutants were refuted."""
    count = {s: sum(r["status"] == s for r in rows) for s in (PASSED, FAILED, NOT_RUN)}
    proofs = [r["proof"] for r in rows if r["kind"] == "claim"]
    return {
        **count,
        "claims proved": sum(p["verdict"] == "holds" for p in proofs),
        "claims": len(proofs),
        "mistakes refuted": sum(len(p["mistakes"]) for p in proofs),
        "mutants killed": sum(any(k.values()) for r in rows for k in r.get("kills", {}).values()),
    }


def _kept(partial: Path, tree: str):
    """The rows an interrupted run of the same tree has already made."""
    if not partial.exists():
        return {}
    lines = partial.read_text(encoding="utf-8").splitlines()
    try:
        if json.loads(lines[0])["tree"] != tree:
            return {}
    except (IndexError, KeyError, json.JSONDecodeError):
        return {}
    rows = {}
    for line in lines[1:]:
        try:
            made = json.loads(line)
        except json.JSONDecodeError:
            break  # the line being written when the run was killed
        rows[made["id"]] = made
    return rows
