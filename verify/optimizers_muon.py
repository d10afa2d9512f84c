"""Laws of Lion and of Muon, whose steps have one size: one in every entry, near one in every singular value."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

from reference.optimizers_muon import newton_schulz as orthogonalized
from verify.compare import close
from verify.inputs import tensor
from verify.suite import Operation

F64 = torch.float64
SHAPES = [(2, 3), (4, 2), (3, 3), (5, 1)]


@st.composite
def one_matrix(draw):
    """A matrix of any shape and size, at times of rank one or zero."""
    F, D = draw(st.sampled_from(SHAPES))
    g = draw(tensor(F, D, scale=draw(st.sampled_from([1.0, 64.0, 1e-3]))))
    kind = draw(st.sampled_from(["any", "any", "any", "rank one", "zero"]))
    g = g[:, :1] * g[:1] if kind == "rank one" else g * (kind != "zero")
    return {"g": g, "steps": draw(st.sampled_from([1, 2, 1, 5])), "eps": draw(st.sampled_from([1e-7, 0.5, 0.0]))}


@st.composite
def matrix_steps(draw):
    """A start and gradients of a tall, wide or square matrix."""
    N, F, D = draw(st.sampled_from([(2, 3, 4), (3, 4, 2), (2, 5, 1)]))
    lr, mu = draw(st.sampled_from([0.1, 2.0**-6])), draw(st.sampled_from([0.95, 0.5, 0.0]))
    chosen = {"lr": lr, "mu": mu, "nesterov": draw(st.booleans()), "decay": draw(st.sampled_from([0.0, 0.5]))}
    fixed = {"steps": draw(st.sampled_from([1, 2, 1, 5])), "eps": draw(st.sampled_from([1e-7, 0.1]))}
    return {"x": draw(tensor(F, D)), "gradients": draw(tensor(N, F, D)), **chosen, **fixed}


def turn(size, seed):
    """An orthogonal matrix: a mirror across a direction with no zero entry."""
    v = torch.arange(1, size + 1, dtype=F64) + seed
    return torch.eye(size, dtype=F64) - 2 * torch.outer(v, v) / (v @ v)


def quintic(s, steps):
    """The polynomial, applied again and again."""
    for _ in range(steps):
        s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
    return s


def three_and_four_by_hand(newton_schulz, g, steps, eps):
    """diag(3, 4) has norm 5: without ε its singular values start at 3/5 and 4/5."""
    diagonal = torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]], dtype=F64)
    start = torch.tensor([[0.6, 0.0, 0.0], [0.0, 0.8, 0.0]], dtype=F64)
    close(newton_schulz(diagonal, steps=steps, eps=0.0), quintic(start, steps))
    close(newton_schulz(diagonal, steps=0, eps=5.0), diagonal / 10)


def mirrors_pass_through(newton_schulz, g, steps, eps):
    """Mirrored on either side, the matrix gives the mirrored result: only singular values are touched."""
    left, right = turn(g.shape[0], 0.5), turn(g.shape[1], 2.0)
    close(
        newton_schulz(left @ g @ right, steps=steps, eps=eps), left @ newton_schulz(g, steps=steps, eps=eps) @ right, 1
    )


def transposes_pass_through(newton_schulz, g, steps, eps):
    """A tall matrix gives what the wide one gives, transposed."""
    close(newton_schulz(g.mT.contiguous(), steps=steps, eps=eps), newton_schulz(g, steps=steps, eps=eps).mT, scale=1)


def size_does_not_matter(newton_schulz, g, steps, eps):
    """The matrix and ε in another unit give the same."""
    close(newton_schulz(1024 * g, steps=steps, eps=1024 * eps), newton_schulz(g, steps=steps, eps=eps), scale=1)


def five_steps_gather(newton_schulz, g, steps, eps):
    """Singular values of a tenth of the norm and more end between 0.68 and 1.21."""
    unit = torch.linalg.qr(g.mT @ g + torch.eye(g.shape[1], dtype=F64))[0]
    spread = unit @ torch.diag(torch.linspace(0.2, 1.0, g.shape[1], dtype=F64))
    found = torch.linalg.svdvals(newton_schulz(spread, steps=5, eps=0.0))
    assert found.min() >= 0.68 and found.max() <= 1.21, f"singular values from {found.min():.3f} to {found.max():.3f}"


def still(hyper):
    """The hyper-parameters without decay and without ε."""
    return hyper | {"decay": 0.0, "eps": 0.0}


def nothing_but_decay_without_gradients(muon, x, gradients, lr, decay, **hyper):
    """Only a factor 1 − ηλ a step is left."""
    t = torch.arange(1, len(gradients) + 1, dtype=F64)[:, None, None]
    close(muon(x, torch.zeros_like(gradients), lr=lr, decay=decay, **hyper), x * (1 - lr * decay) ** t)


def decay_stays_beside_the_step(muon, x, gradients, lr, decay, **hyper):
    """Beside the factor 1 − ηλ a step is as long as without decay, from wherever it starts."""
    path, alone = (muon(x, gradients, lr=lr, decay=d, **hyper) for d in (decay, 0.0))
    starts = [torch.cat([x[None], p[:-1]]) for p in (path, alone)]
    close(path - (1 - lr * decay) * starts[0], alone - starts[1], scale=1)


def one_gradient_leads_on(muon, x, gradients, lr, **hyper):
    """After a single gradient the direction stays: orthogonalized, a fading velocity does not fade."""
    if hyper["mu"]:
        kick = torch.zeros_like(gradients)
        kick[0] = gradients[0]
        moved = muon(torch.zeros_like(x), kick, lr=lr, **still(hyper))
        t = torch.arange(1, len(kick) + 1, dtype=F64)[:, None, None]
        close(moved, moved[0] * t, scale=lr)


def second_step_by_hand(muon, x, gradients, lr, mu, nesterov, steps, decay, eps):
    """After g and h the velocity is μg + h, looked ahead along as h + μ(μg + h); tall matrices step √(F/D) times."""
    g, h = gradients[:2]
    ahead = h + mu * (mu * g + h) if nesterov else mu * g + h
    path = muon(x, gradients[:2], lr=lr, mu=mu, nesterov=nesterov, steps=steps, decay=0.0, eps=eps)
    tall = math.sqrt(max(1.0, g.shape[0] / g.shape[1]))
    close(path[0] - path[1], lr * tall * orthogonalized(ahead, steps=steps, eps=eps), scale=1)


def unscaled(muon, x, gradients, *, lr, decay=0.0, **hyper):
    """No factor for tall matrices."""
    factor = max(1.0, x.shape[0] / x.shape[1]) ** 0.5
    return muon(x, gradients, lr=lr / factor, decay=decay * factor, **hyper)


def as_long_as_adam(muon, x, gradients, *, lr, decay=0.0, **hyper):
    """0.2 √max(F, D), with which the root mean square of a step is 0.2, about that of Adam."""
    factor = 0.2 * max(x.shape) ** 0.5
    return unscaled(muon, x, gradients, lr=lr * factor, decay=decay / factor, **hyper)


OPERATIONS = [
    Operation(
        "optimizers.newton_schulz",
        inputs=one_matrix(),
        laws=[
            three_and_four_by_hand,
            mirrors_pass_through,
            transposes_pass_through,
            size_does_not_matter,
            five_steps_gather,
        ],
        unit=1.0,
        free=("g",),
    ),
    Operation(
        "optimizers.muon",
        inputs=matrix_steps(),
        laws=[
            nothing_but_decay_without_gradients,
            decay_stays_beside_the_step,
            one_gradient_leads_on,
            second_step_by_hand,
        ],
        unit=1.0,
        conventions={"no factor √max(1, F/D)": unscaled, "the factor 0.2 √max(F, D), as in Moonlight": as_long_as_adam},
        free=("x", "gradients"),
    ),
]
