"""The Triton kernels through the public command, in every dtype that they claim: python -m verify run kernels.

Each is a candidate as anybody's function is: `python -m verify check OPERATION FILE:FUNCTION --dtype D`, its gradients
too where it has any. Without a GPU they run in Triton's interpreter, which takes minutes, so that they are run only
when asked for by name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

from verify.rows import ROOT, evidence, row

KERNELS = {
    "attention": ("attention.attention", "attention.grouped_query_attention"),
    "normalization": ("normalization.rms_norm", "normalization.layer_norm"),
    "loss": ("loss.cross_entropy", "loss.cross_entropy_gradient"),
    "rope": ("rope.rotate",),
    "activations": ("activations.swiglu",),
    "optimizers": ("optimizers.adamw_step",),
}
"""The operations that each file of reference/kernels holds, under their own names but for shared heads."""
OTHER_NAMES = {"attention.grouped_query_attention": "attention"}
WITHOUT_GRADIENTS = ("loss.cross_entropy_gradient", "optimizers.adamw_step")
DTYPES = ("float32", "float16", "bfloat16")
COUNT, LIMIT, ENDS = 12, 60, {0: "conforms", 1: "refuted", 3: "undecided"}
"""Cases for each, seconds for a call in the interpreter, and what an exit status says."""


def asked():
    """(operation, file:function, dtype, are its gradients asked for?) of everything that is claimed."""
    for stem, operations in KERNELS.items():
        for name in operations:
            candidate = f"reference/kernels/{stem}.py:{OTHER_NAMES.get(name, name.partition('.')[2])}"
            for dtype in DTYPES:
                yield from ((name, candidate, dtype, grad) for grad in (False, True) if not grad or has_gradients(name))


def has_gradients(name: str) -> bool:
    return name not in WITHOUT_GRADIENTS


def identifier(name: str, candidate: str, dtype: str, grad: bool) -> str:
    """The id of its row."""
    return f"kernels.{name}.{dtype}" + ".gradients" * grad


def checked(name: str, candidate: str, dtype: str, grad: bool, device: str) -> tuple[str, str]:
    """(conforms, refuted or undecided, or unusable; what the command says)."""
    command = [sys.executable, "-m", "verify", "check", name, candidate, "--dtype", dtype, "--device", device,
               "--count", str(COUNT), "--limit", str(LIMIT), "--json", *(["--grad"] if grad else [])]  # fmt: skip
    extra = {"TRITON_INTERPRET": "1"} if device == "cpu" else {}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | extra, capture_output=True, text=True, check=False)
    if done.returncode not in ENDS or not done.stdout.startswith("{"):
        return "unusable", (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    report = json.loads(done.stdout)
    return ENDS[done.returncode], report["why"] or f"{report['cases']} cases, contract {report['contract']}"


def of_kernel(name: str, candidate: str, dtype: str, grad: bool) -> dict:
    """The row of one kernel in one dtype, forward or backward; undecided is a failure, as everywhere."""
    import torch

    stem = candidate.partition(":")[0].rpartition("/")[2]
    key, what = identifier(name, candidate, dtype, grad), "The gradients of " if grad else ""
    statement = f"{what}{candidate} conform{'' if grad else 's'} to {name} in {dtype}."
    about = [f"reference/kernels/{stem}"]
    if find_spec("triton") is None:
        return row(key, "kernel", statement, evidence("not run", "Triton is not installed"), (), about)
    gpu = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if gpu else "Triton's interpreter"
    verdict, why = checked(name, candidate, dtype, grad, "cuda" if gpu else "cpu")
    wrong = [] if verdict == "conforms" else [f"{key} is {verdict}: {why}"]
    return row(key, "kernel", statement, evidence("cross-checked", f"{where}: {why}"), wrong, about)
