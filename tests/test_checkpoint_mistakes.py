"""What people get wrong in a decoder or in a checkpoint: each mistake, planted in our code, changes a golden number."""

import sys
import types
from pathlib import Path

import pytest
import torch

from reference import checkpoint, families, model, names, rope
from tests.test_checkpoint import KNOWN, numbers, picked
from tests.tiny_checkpoint import IDS, MASK, older, save

GEMMA = "gemma2"
MODEL = {
    "the head is not scaled": ("llama3", "scale=layer.scale", "scale=1.0"),
    "a window one key wider": ("mistral", "< layer.window", "<= layer.window"),
    "a window one key narrower": ("mistral", "< layer.window", "< layer.window - 1"),
    "no window": ("qwen2 with windows", "if layer.window is not None:", "if False:"),
    "a window in every layer": (
        "qwen3 with windows, biases", "layer, T = a.layers[i], x.shape[1]", "layer, T = a.layers[0], x.shape[1]"),
    "norms of Gemma without the one": (GEMMA, "weight = 1 + weight if a.centred else weight", "pass"),
    "embeddings that are not scaled": (GEMMA, "x = x * torch.tensor(a.embedding", "x = x * torch.tensor(1.0"),
    "scores that are not capped": (GEMMA, "softcap=a.score_cap", "softcap=None"),
    "logits that are not capped": (GEMMA, "return z if a.logit_cap is None", "return z if True"),
    "pairs of neighbours turn": ("llama3", 'layout="half"', 'layout="interleaved"'),
    "keys that do not turn": ("llama3", "rope.rotate(part,", "(lambda part, *a, **how: part if part is k else "
                                         "rope.rotate(part, *a, **how))(part,"),
    "positions count the padding": ("gpt2", "(start + text.long().cumsum(1) - 1).clamp(min=0)",
                                    "torch.arange(text.shape[1]).expand(text.shape)"),
    "positions from one": ("gpt2", "cumsum(1) - 1)", "cumsum(1))"),
    "padding is seen": ("olmo2", "tril(S - T) & text[:, None]", "tril(S - T) & (text | ~text)[:, None]"),
    "a token does not see itself": ("llama2", "tril(S - T)", "tril(S - T - 1)"),
    "heads of keys in turn": ("llama3", "attend(q, k, v,",
                              "attend(q, *(x.repeat(1, a.H // a.G, 1, 1) for x in (k, v)),"),
    "rows of all queries that are not normalized": ("olmo2", 'if a.qk_norm == "joint":', "if False:"),
    "queries that are not normalized": ("qwen3", 'q, k = norm(q, weights, f"blocks.{i}.q_norm", a), norm(k, weights, '
                                                 'f"blocks.{i}.k_norm", a)\n    if layer', "pass\n    if layer"),
    "the other half is gated": ("llama2", "bend(linear(x, weights, f\"blocks.{i}.gate\")) * up",
                                "linear(x, weights, f\"blocks.{i}.gate\") * bend(up)"),
    "one after the other": ("gpt_neox", "if a.parallel:", "if False:"),
    "both of one x": ("gpt_neox one after the other", "if a.parallel:", "if True:"),
    "norms after attention left out": ("olmo2", 'if a.after else y', 'if False else y'),
    "the last norm left out": ("gpt2", 'z = norm(x, weights, "norm", a)', "z = x"),
    "biases left out": ("qwen2", 'if f"{name}.bias" in weights else y', "if False else y"),
    "GELU with erf": ("gpt2", 'return gelu(x, "tanh")', "return gelu(x)"),
    "GELU with tanh": ("gpt_neox", '"gelu": gelu,', '"gelu": gelu_tanh,'),
    "every layer turns": ("smollm3", "a.layers[i], x.shape[1]", "a.layers[0], x.shape[1]"),
    "the factor of YaRN left out": ("llama yarn", "factor=layer.rotation.factor", "factor=1.0"),
    "a length one too long": (
        "llama dynamic", "layer.rotation, int(positions.max()) + 1", "layer.rotation, int(positions.max()) + 2"
    ),
}  # fmt: skip
"""A case, a line of reference/model.py, and what stands there by mistake."""

FAMILY = {
    "ε of another": ("llama2", 'eps=number(config, family.eps)', 'eps=1e-5'),
    "ε of GPT-2": ("gpt2", 'eps=number(config, family.eps)', 'eps=1e-6'),
    "scores of Gemma by the head": (GEMMA, 'if family.names is GEMMA else K', 'if False else K'),
    "scores by depth forgotten": ("gpt2 untied, inner, scaled by depth", 'scale / (i + 1) if by_depth', 'scale if 1'),
    "windows in the other layers": (GEMMA, "(i + 1) % every != 0 for i in range(L)]\n    elif",
                                    "(i + 1) % every == 0 for i in range(L)]\n    elif"),
    "windows in all layers": ("qwen2 with windows", 'i >= size(config, "max_window_layers", least=0)', "True"),
    "windows in spite of the flag": ("qwen3", 'windowed and flag(config, "use_sliding_window")', "windowed"),
    "local layers of Gemma 3 turn as the others": ("gemma3", "by_type.get(kind, scaled), K, bases[kind]",
                                                   'by_type.get("full_attention", scaled), K, bases["full_attention"]'),
    "a base that is not read": ("llama linear", 'number(config, "rope_theta", 10000.0), 1.0', "10000.0, 1.0"),
    "all of a head turns": ("gpt_neox", 'share = number(scaled, "partial_rotary_factor", share)', "share = 1.0"),
    "a scaling that is not read": ("llama3", 'kind = rope.get("rope_type", rope.get("type", "default"))',
                                   'kind = "default"'),
    "NoPE layers counted from zero": ("smollm3", "(i + 1) % every != 0 for i in range(L)]\n    if not",
                                      "i % every != 0 for i in range(L)]\n    if not"),
    "one factor of YaRN for two": ("llama yarn, other betas", 'if rope.get("mscale") and', "if False and"),
    "another beta of YaRN": ("llama yarn, other betas", 'number(rope, "beta_fast", 32.0)', "0.5"),
}  # fmt: skip
"""The same for reference/families.py."""

LAYOUT = {
    "Conv1D as if it were Linear": ("gpt2",
                                    'if lies == "columns":\n        whole = whole.mT\n    elif lies == "heads":\n'
                                    "        whole = whole.unflatten(0, (-1, 3, K))",
                                    'if lies == "columns":\n        whole = whole.reshape(whole.shape[::-1])\n'
                                    '    elif lies == "heads":\n        whole = whole.unflatten(0, (-1, 3, K))'),
    "q, k and v of all heads": ("gpt_neox", 'elif lies == "heads":\n        whole = whole.unflatten(0, (-1, 3, K))',
                                'elif False:\n        whole = whole.unflatten(0, (-1, 3, K))'),
    "gate and up exchanged": ("llama2", 'for module in ("gate", "up", "down")},\n    **{"tokens": "embed_tokens"',
                              'for module in ("gate", "up", "down")},\n    **{"gate": MLP + "up_proj", "up": MLP + '
                              '"gate_proj", "tokens": "embed_tokens"'),
    "norms of Gemma before for after": (GEMMA, 'BOTH = {"before1": "layers.{}.input_layernorm", "before2": '
                                        '"layers.{}.pre_feedforward_layernorm", **POST}',
                                        'BOTH = {"before1": "layers.{}.input_layernorm", "after1": '
                                        '"layers.{}.pre_feedforward_layernorm", "before2": '
                                        'POST["after1"], "after2": POST["after2"]}'),
}  # fmt: skip
"""The same for reference/names.py."""


def planted(module, old, new):
    """The module, with a mistake in its source."""
    text = Path(module.__file__).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {module.__name__}"
    made = types.ModuleType(module.__name__)
    made.__file__ = module.__file__
    exec(compile(text.replace(old, new), module.__file__, "exec"), made.__dict__)
    return made


def wrong(case, found):
    """How far the logits are from what they should be, in the batch and in the parts of a cache."""
    return (picked(found) - torch.tensor(KNOWN[case]["logits"], dtype=torch.float64)).abs().max().item()


@pytest.fixture
def folder(tmp_path):
    return lambda case: save(tmp_path, older(KNOWN[case]["config"]), numbers(case))


@pytest.mark.parametrize("mistake", MODEL)
def test_mistakes_of_the_model(mistake, folder):
    case, old, new = MODEL[mistake]
    ours = checkpoint.load(folder(case), torch.float64)
    assert wrong(case, model.logits(*ours, IDS, MASK)) < 1e-11
    assert not wrong(case, planted(model, old, new).logits(*ours, IDS, MASK)) < 1e-8


@pytest.mark.parametrize("mistake", FAMILY)
def test_mistakes_of_the_reading(mistake, folder, monkeypatch):
    case, old, new = FAMILY[mistake]
    monkeypatch.setitem(sys.modules, "reference.families", planted(families, old, new))
    monkeypatch.setattr(checkpoint, "architecture", sys.modules["reference.families"].architecture)
    assert not wrong(case, model.logits(*checkpoint.load(folder(case), torch.float64), IDS, MASK)) < 1e-8


@pytest.mark.parametrize("mistake", LAYOUT)
def test_mistakes_of_the_layout(mistake, folder, monkeypatch):
    case, old, new = LAYOUT[mistake]
    monkeypatch.setitem(sys.modules, "reference.names", planted(names, old, new))
    monkeypatch.setitem(sys.modules, "reference.families", planted(families, '"""The published', '"""The published'))
    for name in ("shape", "taken", "tensors"):
        monkeypatch.setattr(checkpoint, name, getattr(sys.modules["reference.names"], name))
    monkeypatch.setattr(checkpoint, "FAMILIES", sys.modules["reference.families"].FAMILIES)
    assert not wrong(case, model.logits(*checkpoint.load(folder(case), torch.float64), IDS, MASK)) < 1e-8


def test_queries_normalized_after_they_turn(folder, monkeypatch):
    """Of each head alone the order matters only where weights differ within a pair, as they do here."""
    ours = checkpoint.load(folder("qwen3"), torch.float64)
    turned, norm = rope.rotate, model.norm
    waiting = []

    def later(x, weights, name, a):
        if not name.endswith(("q_norm", "k_norm")):
            return norm(x, weights, name, a)
        waiting.append(lambda y: norm(y, weights, name, a))
        return x

    monkeypatch.setattr(model, "norm", later)
    monkeypatch.setattr(rope, "rotate", lambda *args, **how: waiting.pop(0)(turned(*args, **how)))
    assert wrong("qwen3", model.logits(*ours, IDS, MASK)) > 1e-3
