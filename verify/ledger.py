"""The ledger: rows are appended to `ledger.partial.jsonl` as they come, a complete run writes `ledger.json`.

An interrupted run of the same tree goes on where it stopped. The rows are made in verify/rows.py, a process a core; the
schema is papers/ledger.md, the classes of evidence are explained in TRUST.md.
"""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import os
import platform
import signal
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import import_module, metadata
from pathlib import Path

from derivations.__main__ import claims, topics
from verify import rows
from verify.boundaries import computed
from verify.rows import FAILED, NOT_RUN, PASSED, ROOT

VERSIONS = ("torch", "jax", "sympy", "python-flint", "z3-solver", "hypothesis", "numpy")
PROFILES = {"dev": 25, "ci": 200, "deep": 5000}


def profile_count() -> int:
    """How many examples the profile in DEMONSTRANDUM_PROFILE (dev, ci, deep; dev when unset) asks for."""
    name = os.environ.get("DEMONSTRANDUM_PROFILE", "dev")
    if name not in PROFILES:
        raise ValueError(f"DEMONSTRANDUM_PROFILE is one of {', '.join(PROFILES)}, not {name!r}")
    return PROFILES[name]


def tree_hash() -> str:
    """One hash of everything a row depends on."""
    code = (p for wing in ("reference", "derivations", "verify") for p in (ROOT / wing).rglob("*.py"))
    files = sorted([*code, *(ROOT / "papers").glob("*"), *ROOT.glob("README.md")])
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()} {p.relative_to(ROOT)}\n" for p in files if p.is_file()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def plan(chosen, count, quick):
    """(id, function that makes the row), in order: the claims, the operations, real input, the articles, the rest."""
    if KERNELS in chosen:
        from verify.kernels import asked, identifier, of_kernel

        yield from ((identifier(*one), lambda one=one: of_kernel(*one)) for one in asked())
    chosen = [topic for topic in chosen if topic != KERNELS]
    if not chosen:
        return
    operations = [o for topic in computed(chosen) for o in import_module(f"verify.{topic}").OPERATIONS]
    yield from ((c.id, lambda c=c: rows.of_claim(c, quick)) for c in claims(chosen))
    yield "boundaries", rows.of_the_house  # seconds: not at the end, where the other cores would wait
    yield from ((f"reference.{o.name}", lambda o=o: rows.of_operation(o, count, quick)) for o in operations)
    if "markov" in chosen:
        yield "markov.trained_table", lambda: rows.of_trained_table(quick)
    for article in rows.articles(chosen):
        yield f"papers.{article.stem}", lambda article=article: rows.of_article(article, quick)
    yield "device.cuda", lambda: rows.of_device(operations)


KERNELS = "kernels"
"""No topic, and not run unless it is named: reference/kernels through `verify check`."""
TOGETHER = ("memory", "flops", "checkpointing", "transformer")
"""Claims of such a topic run the same programs of the decoder, and what these found is kept in a process."""
STEPS: dict = {}
"""The plan of a worker; the process that gathers the rows needs neither torch nor jax."""


def _prepare(chosen, count, quick):
    """Load everything into a worker, which leaves the other cores to the others."""
    import torch

    torch.set_num_threads(1)
    STEPS.update(plan(chosen, count, quick))
    gc.freeze()  # modules stay: to look through them for garbage again and again takes a tenth of the time
    gc.set_threshold(100_000, 20, 100)


def _identifiers():
    return list(STEPS)


def _make(identifiers):
    """The rows of a unit, each with the seconds that it took."""
    made = []
    for identifier in identifiers:
        started = time.perf_counter()
        made.append(STEPS[identifier]() | {"seconds": round(time.perf_counter() - started, 3)})
    return made


def _units(identifiers):
    """What a worker makes in one go: mostly one row."""
    units: dict[str, list[str]] = {}
    for identifier in identifiers:
        topic = identifier.partition(".")[0]
        units.setdefault(topic if topic in TOGETHER else identifier, []).append(identifier)
    return units.values()


def cores() -> int:
    """How many processors we may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build(chosen, count, out: Path, tell, quick=False):
    """Make every row, or take it from an interrupted run of the tree; `tell(row, number, total)` shows progress.

    A quick run leaves out twins, gradients, training and articles, and says so in each row.
    """
    chosen = list(chosen or topics())
    tree, partial = tree_hash(), out / "ledger.partial.jsonl"
    run = {"tree": tree, "topics": chosen, "examples": count, "quick": quick}
    kept = _kept(partial, run)
    with partial.open("w", encoding="utf-8") as file:
        for line in (run, *kept.values()):  # at once, so that stopping again loses nothing
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        order, found = list[str](), dict[str, dict]()
        for row in _gathered((chosen, count, quick), kept, order):
            if row["id"] not in kept:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
            found[row["id"]] = row
            tell(row, len(found), len(order))
    made = [found[identifier] for identifier in order]
    versions = {"python": platform.python_version(), **{name: metadata.version(name) for name in VERSIONS}}
    ledger = {"schema": 1, **run, "versions": versions, "summary": summary(made), "rows": made}
    (out / "ledger.json").write_text(json.dumps(ledger, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.unlink()
    return ledger


def _gathered(asked, kept, order):
    """Every row, the kept ones first, then the others as the workers finish them; `order` receives all ids first."""
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    pool = ProcessPoolExecutor(cores(), spawn, initializer=_prepare, initargs=asked)
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the workers inherit that: an interrupt is ours alone
    try:
        ready = [pool.submit(_identifiers) for _ in range(cores())]  # a worker starts when there is work for it
        signal.signal(signal.SIGINT, heard)
        order += ready[0].result()
        yield from (kept[identifier] for identifier in order if identifier in kept)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        waiting = [pool.submit(_make, unit) for unit in _units(x for x in order if x not in kept)]
        signal.signal(signal.SIGINT, heard)
        for done in as_completed(waiting):
            yield from done.result()
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        signal.signal(signal.SIGINT, heard)
        pool.shutdown(wait=True, cancel_futures=True)


def summary(made):
    """How many rows of each status, and how many mistakes and mutants were refuted."""
    proofs = [row["proof"] for row in made if row["kind"] == "claim"]
    return {
        **{status: sum(row["status"] == status for row in made) for status in (PASSED, FAILED, NOT_RUN)},
        "claims": len(proofs),
        "claims proved": sum(proof["verdict"] == "holds" for proof in proofs),
        "mistakes refuted": sum(len(proof["mistakes"]) for proof in proofs),
        "mutants killed": sum(any(k.values()) for row in made for k in row.get("kills", {}).values()),
    }


def _kept(partial: Path, run):
    """The rows that an interrupted run of the same tree, topics and examples has made."""
    lines = partial.read_text(encoding="utf-8").splitlines() if partial.exists() else []
    found = {}
    for number, line in enumerate(lines):
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            break  # the line that was being written when the run was killed
        if number == 0 and value != run:
            break
        if number:
            found[value["id"]] = value
    return found
