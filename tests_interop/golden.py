"""Writes tests/data/checkpoints.json anew: python -m tests_interop.golden."""

import json
import math
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from tests.tiny_checkpoint import GOLDEN, IDS, MASK, drawn, save
from tests_interop.widened import CASES, random_model, wide

NOISE = ("transformers_version", "architectures", "use_cache", "initializer_range", "_name_or_path", "dtype",
         "output_attentions", "return_dict", "chunk_size_feed_forward", "is_encoder_decoder", "id2label", "label2id",
         "problem_type", "output_hidden_states", "_sliding_window_pattern")  # fmt: skip


def computed(kind, given, folder):
    """What a case is, and the numbers that transformers gets for it."""
    with wide(kind):
        random_model(kind, given).save_pretrained(folder)
        with safe_open(folder / "model.safetensors", "pt") as file:
            shapes = {name: list(file.get_tensor(name).shape) for name in sorted(file.keys())}
        config = json.loads((folder / "config.json").read_text())
        config = {key: value for key, value in config.items() if key not in NOISE}
        save(folder, config, {name: drawn(name, shape) for name, shape in shapes.items()})
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
        positions = (MASK.long().cumsum(1) - 1).clamp(min=0)
        z = model(IDS, attention_mask=MASK.long(), position_ids=positions).logits
        told = torch.where(MASK & torch.cat([MASK[:, :1] & False, MASK[:, :-1]], 1), IDS, -100)
        loss = model.loss_function(z, told, z.shape[-1])
        loss.backward()
        norm = math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters()))
        greedy = model.generate(IDS, attention_mask=MASK.long(), max_new_tokens=16, do_sample=False, eos_token_id=None,
                                pad_token_id=0)[:, IDS.shape[1] :]  # fmt: skip
    return {
        "config": config,
        "tensors": shapes,
        "logits": [*z[0, 3, :3].tolist(), *z[1, 3, :3].tolist(), *z[:, -1, :3].flatten().tolist()],
        "loss": loss.item(),
        "gradient": norm,
        "greedy": greedy.tolist(),
    }


def main():
    """All cases."""
    found = {}
    for name, (kind, given) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = computed(kind, given, Path(folder))
        print(name, found[name]["loss"], flush=True)
    GOLDEN.write_text("{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in found.items()) + "\n}\n")


if __name__ == "__main__":
    main()
