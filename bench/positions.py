"""Beyond the length trained on, a small model for every kind of position: python -m bench positions [--svg FILE].

Each is trained on windows of 64 characters of the embedded corpus, alike in all but its positions, and then reads
held-out windows of up to 512: bits a character over the last 32 of each. RoPE is also stretched, without any training.
Beside them stand maps of what each kind says about a pair of places. It takes some minutes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from bench.experiment import report
from bench.figures import frame, names, panels, save, series
from reference import corpus
from reference.attention import attend
from reference.markov import encode
from reference.positions import alibi_bias, learned, sinusoidal
from reference.rope import frequencies, interpolated, ntk, rotate, yarn

TRAINED, LENGTHS, LAST = 64, (32, 64, 96, 128, 256, 512), 32
TICKS = (32, 64, 128, 256, 512)
D, H, L, ROWS, STEPS, RATE, WINDOWS = 64, 4, 2, 24, 600, 3e-3, 32
KINDS = ("none", "learned", "sinusoidal", "ALiBi", "RoPE")
STRETCHED = {
    "RoPE, interpolated": lambda K, s: (interpolated(K, s), 1.0),
    "RoPE, NTK": lambda K, s: (ntk(K, s), 1.0),
    "RoPE, YaRN": lambda K, s: yarn(K, s, TRAINED),
}
CELLS = 48
"""Places along the side of a map."""


class Model(nn.Module):
    """Two pre-norm blocks of width 64 with a tied head; `kind` says how it knows places."""

    def __init__(self, V: int, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.embedding = nn.Parameter(torch.randn(V, D) * 0.02)
        self.table = nn.Parameter(torch.randn(TRAINED, D) * 0.02) if kind == "learned" else None
        self.attention = nn.ParameterList([nn.Parameter(torch.randn(4, D, D) / math.sqrt(D)) for _ in range(L)])
        self.hidden = nn.ModuleList(
            [nn.Sequential(nn.Linear(D, 4 * D), nn.GELU(), nn.Linear(4 * D, D)) for _ in range(L)]
        )

    def forward(self, ids, theta=None, factor=1.0):
        T = ids.shape[1]
        x = self.embedding[ids] * (math.sqrt(D) if self.kind == "sinusoidal" else 1)
        if self.table is not None:
            x = x + learned(self.table, torch.arange(T))
        if self.kind == "sinusoidal":
            x = x + sinusoidal(T, D).to(x.dtype)
        bias = alibi_bias(H, T, T).to(x.dtype) if self.kind == "ALiBi" else None
        for weights, hidden in zip(self.attention, self.hidden, strict=True):
            q, k, v = map(heads, torch.einsum("btd,wde->wbte", norm(x), weights[:3]))
            if self.kind == "RoPE":
                q, k = (rotate(p, torch.arange(T), theta=theta, factor=factor) for p in (q, k))
            x = x + attend(q, k, v, causal=True, bias=bias).transpose(1, 2).flatten(2) @ weights[3] / math.sqrt(2 * L)
            x = x + hidden(norm(x))
        return norm(x) @ self.embedding.T


def heads(x):
    """B T D as B H T K."""
    return x.unflatten(-1, (H, -1)).transpose(1, 2)


def norm(x):
    return nn.functional.layer_norm(x, x.shape[-1:])


def surprise(model, windows, **stretch) -> torch.Tensor:
    """Nats of every character after the first, rows × T − 1."""
    logits = model(windows[:, :-1], **stretch)
    return nn.functional.cross_entropy(logits.transpose(1, 2), windows[:, 1:], reduction="none")


def trained(kind: str, ids: torch.Tensor, V: int, steps: int = STEPS) -> Model:
    """A model after so many steps of AdamW with a cosine; the same windows for every kind."""
    model, draw = Model(V, kind), torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(steps):
        starts = torch.randint(len(ids) - TRAINED - 1, (ROWS,), generator=draw)
        loss = surprise(model, ids[starts[:, None] + torch.arange(TRAINED + 1)]).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model


def rows(steps: int = STEPS) -> Iterator[dict[str, Any]]:
    """For each kind and length: bits a character over the last 32 characters of windows of that length."""
    seen, held_out = corpus.embedded()
    ids, alphabet = encode(seen + held_out)
    here, there = ids[: len(seen)].long(), ids[len(seen) :].long()
    ends = torch.linspace(max(LENGTHS) + 1, len(there), WINDOWS).long()
    for kind in KINDS:
        model = trained(kind, here, len(alphabet), steps)
        variants = {kind: None} | (STRETCHED if kind == "RoPE" else {})
        for name, stretch in variants.items():
            for T in LENGTHS:
                found = {"kind": name, "T": T, "bits": None}
                if kind != "learned" or T <= TRAINED:
                    windows = there[ends[:, None] - torch.arange(T, -1, -1) - 1]
                    theta, factor = stretch(D // H, max(1.0, T / TRAINED)) if stretch else (None, 1.0)
                    with torch.no_grad():
                        nats = surprise(model, windows, theta=theta, factor=factor)[:, -LAST:]
                    found["bits"] = nats.mean().item() / math.log(2)
                yield found


def maps() -> dict[str, torch.Tensor]:
    """What each kind says about query place i and key place j, before anything is learned."""
    waves, place = sinusoidal(CELLS, D), torch.arange(CELLS)
    turned = rotate(torch.ones(CELLS, D // H, dtype=torch.float64), place, theta=frequencies(D // H))
    bias = alibi_bias(H, CELLS, CELLS)
    return {
        "sinusoids: products of encodings": waves @ waves.T,
        "RoPE: scores of equal vectors": turned @ turned.T,
        "ALiBi: the bias, any head": bias[0],
    }


def draw_figure(found, path: str) -> None:
    """Bits against length, and maps."""
    figure, axes = panels(5, f"Beyond the {TRAINED} characters trained on, and what each kind says of two places",
                          size=(3.1, 3.0))  # fmt: skip
    groups = (
        ("kinds", KINDS),
        ("RoPE, stretched to the length", ("RoPE", *STRETCHED)),
    )
    for ax, (title, members) in zip(axes, groups, strict=False):
        lines = []
        for color, kind in enumerate(members):
            mine = [(r["T"], r["bits"]) for r in found if r["kind"] == kind and r["bits"] is not None]
            series(ax, [T for T, _ in mine], [bits for _, bits in mine], color=color)
            lines.append((*mine[-1], kind.removeprefix("RoPE, "), color))
        frame(
            ax,
            "characters read",
            "bits a character, the last 32",
            title=title,
            log="x",
            xticks=LENGTHS[:2] + LENGTHS[3:],
        )
        ax.axvline(TRAINED, color="#999999", lw=0.5)
        names(ax, lines)
    for ax, (title, values) in zip(axes[2:], maps().items(), strict=True):
        ax.imshow(values, cmap="Greys", interpolation="nearest", rasterized=True)
        ax.set_title(title, loc="left")
        ax.set_xlabel("place of the key")
        ax.set_xticks([0, CELLS - 1])
        ax.set_yticks([0, CELLS - 1])
        ax.spines[:].set_visible(False)
    save(figure, path)


def told(r: dict[str, Any]) -> str:
    """A row as a line of the table."""
    bits = "not defined" if r["bits"] is None else f"{r['bits']:.3f} bits"
    return f"{r['kind']:<20} {r['T']:>5} characters  {bits}"


def main(options) -> int:
    """Train, read, tell and draw."""
    heading = f"trained on {TRAINED} characters in {STEPS} steps; bits a character over the last {LAST}"
    sizes: dict[str, Any] = {"trained": TRAINED, "width": D, "layers": L, "steps": STEPS}
    return report("positions", options, rows(), draw_figure, told=told, heading=heading, **sizes)
