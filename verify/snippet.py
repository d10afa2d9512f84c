"""Python that calls somebody's function on a counterexample, to be pasted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from verify.ask import Caller


def written(name: str, x: torch.Tensor) -> list[str]:
    """Python that makes a tensor: what sticks out of a constant, or all its entries."""
    entries, counts = x.flatten().unique(return_counts=True)
    others = (x != entries[counts.argmax()]).nonzero().tolist() if x.numel() else []
    if x.numel() <= 12 or len(others) > 6:
        text = re.sub(r"\b(inf|nan)\b", r"torch.\1", str(x.tolist()))
        return [f"{name} = torch.tensor({text}, dtype={x.dtype})"]
    common = re.sub(r"\b(inf|nan)\b", r"torch.\1", str(entries[counts.argmax()].item()))
    made = f"{name} = torch.full({tuple(x.shape)}, {common}, dtype={x.dtype})"
    return [made, *(f"{name}[{', '.join(map(str, i))}] = {x[tuple(i)].item()!r}" for i in others)]


def snippet(target: str, caller: Caller, inputs: Mapping[str, Any], strided: bool) -> str:
    """Lines that make the inputs, then the call; of gradients, the call by which torch or jax finds them."""
    lines, lists = ["import torch"], dict[str, int]()
    for name, x in caller.passed(inputs).items():
        variable = re.sub(r"\W+", "_", name).rstrip("_")
        if name.endswith("]"):
            whole = name.partition("[")[0]
            lists[whole] = lists.get(whole, 0) + 1
        lines += written(variable, x) if isinstance(x, torch.Tensor) else [f"{variable} = {x!r}"]
        if strided and isinstance(x, torch.Tensor) and x.ndim > 1:
            lines.append(f"{variable} = {variable}.mT.contiguous().mT  # transposed in memory")
    lines += [f"{whole} = [{', '.join(f'{whole}_{i}' for i in range(n))}]" for whole, n in lists.items()]
    named = [f"{t}={o}" for t, o in caller.named.items()] + [f"{k}={v!r}" for k, v in caller.fixed.items()]
    name, arguments = target.rpartition(":")[2], ", ".join([*caller.positional, *named])
    wanted = ", ".join(caller.slopes)
    if caller.worker.backward:
        calls = [f"{caller.worker.backward}(cotangent, {arguments})"]
    elif caller.slopes and caller.worker.framework == "jax":
        calls = [f"jax.vjp(lambda {wanted}: {name}({arguments}), {wanted})[1](cotangent)  # of arrays of jax"]
    elif caller.slopes:
        made = [f"{slope}.requires_grad_()" for slope in caller.slopes]
        calls = [*made, f"torch.autograd.grad({name}({arguments}), [{wanted}], cotangent)"]
    else:
        calls = [f"{name}({arguments})"]
    return "\n".join([*lines, *calls])
