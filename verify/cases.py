"""What to call somebody's function with: its arguments by our names, and the inputs to try."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch

from verify.compare import first
from verify.grow import larger, letters, with_leading
from verify.suite import Operation, examples

ALIASES = {
    "q": ("query", "Q", "query_states", "xq"),
    "k": ("key", "K", "key_states", "xk", "top_k"),
    "v": ("value", "V", "value_states", "xv", "exp_avg_sq", "exp_avg_sqs"),
    "mask": ("attn_mask", "attention_mask"),
    "causal": ("is_causal",),
    "scale": ("softmax_scale", "sm_scale", "scaling"),
    "z": ("logits", "input", "x", "scores"),
    "x": ("input", "hidden_states", "params", "param", "p", "q"),
    "base": ("theta", "rope_theta", "rope_base"),
    "theta": ("inv_freq", "freqs"),
    "target": ("targets", "labels", "y", "label"),
    "positions": ("position_ids", "pos"),
    "gradients": ("grads", "g", "tensors"),
    "g": ("grad", "gradient", "grads"),
    "m": ("exp_avg", "exp_avgs"),
    "t": ("step",),
    "mu": ("momentum", "beta"),
    "lr": ("learning_rate", "eta"),
    "alpha": ("rho", "beta2"),
    "decay": ("weight_decay", "wd"),
    "weight": ("w", "gamma", "scale", "g"),
    "bias": ("b", "beta"),
    "eps": ("epsilon", "variance_epsilon"),
    "gate": ("x1",),
    "up": ("x2",),
    "T": ("temperature", "temp", "seq_len", "length"),
    "D": ("d_model", "dim", "hidden_size"),
    "H": ("num_heads", "n_heads", "heads"),
    "p": ("top_p", "min_p"),
    "temperature": ("temp", "T"),
    "tokens": ("input_ids", "token_ids"),
    "penalty": ("repetition_penalty",),
    "max_norm": ("max_grad_norm", "clip"),
    "label_smoothing": ("smoothing",),
    "peak": ("max_lr", "peak_lr", "lr", "learning_rate"),
    "low": ("min_lr", "eta_min", "end_value"),
    "warmup": ("warmup_steps", "num_warmup_steps"),
    "total": ("total_steps", "num_training_steps", "max_steps"),
}
"""Names under which people take our arguments."""


class Usage(Exception):
    """The candidate cannot be called as asked."""


def match(
    reference: Callable[..., Any], theirs: list[list[Any]] | None, given: Mapping[str, str], fixed: Collection[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """(ours passed by place, their name → ours) from the two signatures, from --map and --with. Raises Usage."""
    ours = inspect.signature(reference).parameters
    required = [name for name, p in ours.items() if p.default is p.empty]
    if unknown := [name for name in given if name not in ours]:
        raise Usage(f"--map {unknown[0]}: expected one of {', '.join(ours)}")
    if theirs is None:
        return required, {their: our for our, their in given.items()}
    by_name = [name for name, may, _ in theirs if may]
    named: dict[str, str] = {}
    for our in ours:
        names = [given[our]] if our in given else [our, *ALIASES.get(our, ())]
        if free := [their for their in names if their in (*by_name, *given.values()) and their not in named]:
            named[free[0]] = our
    placed: list[str] = []
    if not set(required) <= set(named.values()):
        if len(theirs) < len(required):
            raise Usage(f"expected a function of {', '.join(required)}, received one of {len(theirs)} arguments")
        if only := [our for our in required if our not in named.values() and ours[our].kind is ours[our].KEYWORD_ONLY]:
            raise Usage(f"which argument is {only[0]}? Say --map {only[0]}=NAME, one of {', '.join(by_name)}")
        placed = [our for our in required if ours[our].kind is not ours[our].KEYWORD_ONLY]
        first = [name for name, _, _ in theirs[: len(placed)]]
        named = {their: our for their, our in named.items() if our not in placed and their not in first}
    filled = {*named, *fixed, *(name for name, _, _ in theirs[: len(placed)])}
    if lacking := [name for name, _, has_default in theirs if not has_default and name not in filled]:
        raise Usage(
            f"the function also wants {lacking[0]}: --with {lacking[0]}=VALUE gives it one, or --map NAME={lacking[0]} "
            f"if it is one of {', '.join(ours)}"
        )
    return placed, named


def narrowed(inputs: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The inputs with every floating-point tensor in the dtype."""
    return {n: x.to(dtype) if isinstance(x, torch.Tensor) and x.is_floating_point() else x for n, x in inputs.items()}


def spread(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A list of tensors as one input for each, "gradients[0]", "gradients[1]", …"""
    flat: dict[str, Any] = {}
    for name, x in inputs.items():
        flat |= {f"{name}[{i}]": item for i, item in enumerate(x)} if isinstance(x, list) else {name: x}
    return flat


def gathered(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `spread`."""
    whole: dict[str, Any] = {}
    for name, x in inputs.items():
        if name.endswith("]"):
            whole.setdefault(name.partition("[")[0], []).append(x)
        else:
            whole[name] = x
    return whole


def on_the_whole(f: Callable[..., Any]) -> Callable[..., Any]:
    """f as a function of spread inputs."""
    return lambda **inputs: f(**gathered(inputs))


def regimes(inputs: Mapping[str, Any], free: Sequence[str], number: int, io: torch.dtype) -> dict[str, Any]:
    """The inputs as drawn; those free to be any number in turn moderate, on a ramp, constant, with one large entry,
    tiny, far off, large, zero and minus zero, and often as they are."""

    def ramp(x: torch.Tensor) -> torch.Tensor:
        return x + torch.linspace(-4, 4, x.shape[-1], dtype=x.dtype) if x.ndim else x

    def far_off(x: torch.Tensor) -> torch.Tensor:
        """One argument on the negative side; of several, the first and second on opposite sides: scores far below 0."""
        second = len(free) > 1 and x is inputs[free[1]]
        return x / 8 + (16.0 if second else -16.0 if len(free) > 1 else -128.0)

    large = 64 if io == torch.float16 or len(free) == 1 else 2048  # half precision holds products; a sum stays sharp

    def same(x: torch.Tensor) -> torch.Tensor:
        return x

    kinds: list[Callable[[torch.Tensor], torch.Tensor]] = [
        same,
        lambda x: x / 4,
        ramp,
        lambda x: x.flatten()[:1].expand(x.numel()).reshape(x.shape).clone(),
        same,
        lambda x: torch.where(torch.arange(x.numel()).reshape(x.shape) == x.numel() // 2, 32 * x, x),
        lambda x: x * 2.0**-12,
        same,
        far_off,
        lambda x: large * x if x is inputs[free[0]] else x,
        same,
        lambda x: torch.zeros_like(x),
        lambda x: x / 4,
        same,
        lambda x: -torch.zeros_like(x),
    ]
    change = kinds[number % len(kinds)]
    tensors = [name for name in free if isinstance(inputs.get(name), torch.Tensor) and inputs[name].numel()]
    return {**inputs, **{name: change(inputs[name]) for name in tensors}}


def cases(
    operation: Operation,
    passed: Sequence[str],
    reference: Callable[..., Any],
    io: torch.dtype,
    count: int,
    given: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    leading: int | None = None,
) -> list[dict[str, Any]]:
    """The inputs to try, small ones first, then larger; only of the `given` sizes, and with so many `leading` axes.

    An option that the candidate lacks stays at its default. Raises Usage when no input has the given sizes.
    """
    defaults = {n: p.default for n, p in inspect.signature(reference).parameters.items() if p.default is not p.empty}
    fixed = {name: value for name, value in defaults.items() if name not in passed}
    kinds: dict[str, list[dict[str, Any]]] = {}
    for inputs in examples(operation, 4 * count, seed):  # draws repeat themselves: take them in turn from every kind
        shape = {n: tuple(x.shape) if isinstance(x, torch.Tensor) else x for n, x in (inputs | fixed).items()}
        kinds.setdefault(str(shape), []).append(inputs)
    turns = [inputs for turn in zip_longest(*kinds.values()) for inputs in turn if inputs is not None]
    changed = []
    for number, inputs in enumerate(turns[:count]):
        left_out = [name for name, default in defaults.items() if default is None and name in inputs][: number % 7 == 6]
        chosen = defaults | regimes(inputs, operation.any_number, number, io) | fixed
        changed.append(chosen | dict.fromkeys(left_out))  # now and then without what may be left out
    grown = list(larger(changed, reference, given or {}, seed))
    if given and not grown:
        raise Usage(f"--sizes: {operation.name} has no input of the sizes {given}; expected letters of its axes")
    whole = grown[:count] if given else [*changed, *grown]
    if io == torch.float16:  # library code adds up rows in it
        whole = [inputs for inputs in whole if all(adds_up(x) for x in inputs.values())]
    if leading is not None:
        axes = letters(reference)
        if not any(names[0].startswith("*") for names in axes.values() if names):
            raise Usage(f"--batch-axes: every axis of {operation.name} has a name: --sizes gives it a length")
        whole = [with_leading(inputs, axes, leading) for inputs in whole]
    held = [narrowed(narrowed(spread(inputs), io), torch.float64) for inputs in whole]  # what the io dtype holds
    return sorted(held, key=lambda e: sum(x.numel() for x in e.values() if isinstance(x, torch.Tensor)))


def adds_up(x: Any) -> bool:
    """Does half precision hold the sum of a row's magnitudes, and of the distances from its largest entry?"""
    if not isinstance(x, torch.Tensor) or not x.is_floating_point() or not x.ndim:
        return True
    finite = torch.where(x.isfinite(), x, 0)
    spread = (finite.amax(-1) - finite.amin(-1)) * x.shape[-1] if x.numel() else finite.sum(-1)
    return bool((torch.maximum(finite.abs().sum(-1), spread) < 2.0**15).all())


def with_cotangent(reference: Callable[..., Any], inputs: dict[str, Any], io: torch.dtype) -> dict[str, Any]:
    """The inputs and a direction in which the result is differentiated, on the same coarse grid; no entry is zero."""
    shape = first(on_the_whole(reference)(**inputs)).shape
    draw = torch.Generator().manual_seed(sum(shape))
    eighths = torch.randint(1, 9, shape, generator=draw) * (1 - 2 * torch.randint(0, 2, shape, generator=draw))
    return {**inputs, "cotangent": (eighths.double() / 8).to(io).double()}
