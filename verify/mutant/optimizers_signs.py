"""Mistakes in Lion and in Muon."""

from __future__ import annotations

import torch

from reference.optimizers import lion
from reference.optimizers_muon import QUINTIC, muon, newton_schulz
from verify.mistake import mistake

NOWHERE = "no public report found"


def lion_like(x, gradients, *, lr, beta1=0.9, beta2=0.99, decay=0.0, seen=None, kept=None, squash=torch.sign):
    """Lion with another average under the sign, or another one kept; both see (m, g)."""
    seen = seen or (lambda m, g: beta1 * m + (1 - beta1) * g)
    kept = kept or (lambda m, g: beta2 * m + (1 - beta2) * g)
    m, path = torch.zeros_like(x), []
    for g in gradients:
        x = x * (1 - lr * decay) - lr * squash(seen(m, g))
        m = kept(m, g)
        path.append(x)
    return torch.stack(path)


@mistake("optimizers.lion", id="lion-updates-first", seen=NOWHERE, fix="take the sign before m moves")
def average_moves_first(x, gradients, *, beta1=0.9, beta2=0.99, **hyper):
    """The sign sees the average that already holds the gradient."""
    return lion_like(
        x,
        gradients,
        seen=lambda m, g: beta1 * (beta2 * m + (1 - beta2) * g) + (1 - beta1) * g,
        beta1=beta1,
        beta2=beta2,
        **hyper,
    )


@mistake("optimizers.lion", id="lion-betas-swapped", seen=NOWHERE, fix="β₁ for the sign, β₂ for what is kept")
def betas_exchanged(x, gradients, *, beta1=0.9, beta2=0.99, **hyper):
    """The slow average is under the sign, the fast one is kept."""
    return lion(x, gradients, beta1=beta2, beta2=beta1, **hyper)


@mistake("optimizers.lion", id="lion-one-beta", seen=NOWHERE, fix="keep the average by β₂")
def one_average(x, gradients, *, beta1=0.9, beta2=0.99, **hyper):
    """Signum: the sign of the one average that is kept."""
    return lion(x, gradients, beta1=beta1, beta2=beta1, **hyper)


@mistake("optimizers.lion", id="lion-keeps-sign", seen=NOWHERE, fix="the average is of gradients")
def averages_the_sign(x, gradients, *, beta2=0.99, **hyper):
    """What is kept is an average of directions."""

    def kept(m, g):
        return beta2 * m + (1 - beta2) * g.sign()

    return lion_like(x, gradients, beta2=beta2, kept=kept, **hyper)


@mistake("optimizers.lion", id="lion-no-sign", seen=NOWHERE, fix="take the sign")
def sign_is_forgotten(x, gradients, **hyper):
    """The step is as long as the gradients are."""
    return lion_like(x, gradients, squash=lambda c: c, **hyper)


@mistake("optimizers.lion", id="lion-sign-of-zero", seen=NOWHERE, fix="zero has no sign")
def zero_counts_as_positive(x, gradients, **hyper):
    """Where the average is zero the step goes down all the same."""
    return lion_like(x, gradients, squash=lambda c: torch.where(c >= 0, 1.0, -1.0), **hyper)


@mistake("optimizers.lion", id="lion-coupled", seen=NOWHERE, fix="shrink x itself, and leave the average alone")
def decay_under_the_sign(x, gradients, *, decay=0.0, **hyper):
    """g + λx goes into both averages."""
    path: list[torch.Tensor] = []
    for t in range(1, len(gradients) + 1):
        path.append(lion(x, gradients[:t] + decay * torch.stack([x, *path]), **hyper)[-1])
    return torch.stack(path)


@mistake("optimizers.lion", id="lion-decay-after", seen=NOWHERE, fix="decay x as it was before the step")
def decays_the_step_too(x, gradients, *, lr, decay=0.0, **hyper):
    """(1 − ηλ)(x − η sign c)."""
    alone, path = lion(torch.zeros_like(x), gradients, lr=lr, **hyper), []
    for move in torch.diff(alone, dim=0, prepend=torch.zeros_like(alone[:1])):
        x = (x + move) * (1 - lr * decay)
        path.append(x)
    return torch.stack(path)


def schulz(g, *, steps=5, eps=1e-7, by=QUINTIC, size=lambda g: g.norm(), product=lambda x: x @ x.mT):
    """The iteration with other coefficients, another size, or another product."""
    a, b, c = by
    measured = size(g) + eps
    x = g / measured if measured > 0 else g
    for _ in range(steps):
        gram = product(x)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x


@mistake("optimizers.newton_schulz", id="muon-cubic", seen=NOWHERE, fix="use the published quintic")
def cubic(g, **how):
    """3X/2 − XXᵀX/2, which needs many more steps."""
    return schulz(g, by=(1.5, -0.5, 0.0), **how)


@mistake("optimizers.newton_schulz", id="muon-spectral-norm", seen=NOWHERE, fix="divide by the Frobenius norm")
def divided_by_the_largest_singular_value(g, **how):
    """The largest singular value starts at one."""
    return schulz(g, size=lambda g: torch.linalg.matrix_norm(g, 2), **how)


@mistake("optimizers.newton_schulz", id="muon-not-normalized", seen=NOWHERE, fix="divide by the norm first")
def not_normalized(g, *, eps=1e-7, **how):
    """Large singular values run away."""
    return schulz(g, eps=0.0, size=lambda g: torch.ones((), dtype=g.dtype), **how)


@mistake("optimizers.newton_schulz", id="muon-coefficients-swapped", seen=NOWHERE, fix="b for XXᵀ, c for its square")
def coefficients_swapped(g, **how):
    """c stands before XXᵀ and b before its square."""
    a, b, c = QUINTIC
    return schulz(g, by=(a, c, b), **how)


@mistake("optimizers.newton_schulz", id="muon-one-step-less", seen=NOWHERE, fix="iterate `steps` times")
def one_step_less(g, *, steps=5, **how):
    """The loop starts at one."""
    return newton_schulz(g, steps=max(steps - 1, 0), **how)


@mistake("optimizers.newton_schulz", id="muon-transpose-lost", seen=NOWHERE, fix="turn a tall matrix back")
def tall_matrices_lie_down(g, **how):
    """A tall matrix is made wide for speed, and stays so."""
    found = newton_schulz(g, **how)
    return found.mT.reshape(g.shape) if g.shape[0] > g.shape[1] else found


@mistake("optimizers.newton_schulz", id="muon-elementwise", seen=NOWHERE, fix="multiply matrices, not entries")
def entry_by_entry(g, *, steps=5, eps=1e-7):
    """The polynomial of every entry."""
    a, b, c = QUINTIC
    size = g.norm() + eps
    x = g / size if size > 0 else g
    for _ in range(steps):
        x = a * x + b * x**3 + c * x**5
    return x


@mistake("optimizers.newton_schulz", id="muon-fixed-epsilon", seen=NOWHERE, fix="ε beside the norm, as given")
def epsilon_ignored(g, *, eps=1e-7, **how):
    """The norm alone."""
    return newton_schulz(g, eps=0.0, **how)


@mistake("optimizers.muon", id="muon-no-shape-factor", seen=NOWHERE, fix="√max(1, F/D)")
def tall_matrices_step_short(x, gradients, *, lr, decay=0.0, **hyper):
    """No factor for tall matrices."""
    factor = max(1.0, x.shape[0] / x.shape[1]) ** 0.5
    return muon(x, gradients, lr=lr / factor, decay=decay * factor, **hyper)


@mistake("optimizers.muon", id="muon-shape-upside-down", seen=NOWHERE, fix="rows over columns")
def wide_matrices_step_long(x, gradients, **hyper):
    """√max(1, D/F): right for a weight that is stored transposed."""
    return muon(x.mT, gradients.mT, **hyper).mT


@mistake("optimizers.muon", id="muon-orthogonalizes-first", seen=NOWHERE, fix="orthogonalize the velocity, at the end")
def momentum_of_orthogonalized(x, gradients, *, lr, mu=0.95, nesterov=True, steps=5, eps=1e-7, decay=0.0):
    """Every gradient is orthogonalized, and then they are added."""
    v, path = torch.zeros_like(x), []
    for g in gradients:
        o = newton_schulz(g, steps=steps, eps=eps)
        v = mu * v + o
        tall = max(1.0, x.shape[0] / x.shape[1]) ** 0.5
        x = x * (1 - lr * decay) - lr * tall * (o + mu * v if nesterov else v)
        path.append(x)
    return torch.stack(path)


@mistake("optimizers.muon", id="muon-nesterov-ignored", seen=NOWHERE, fix="look ahead along μv when asked to")
def muon_without_looking_ahead(x, gradients, *, nesterov=True, **hyper):
    """The velocity alone."""
    return muon(x, gradients, nesterov=False, **hyper)


@mistake("optimizers.muon", id="muon-nesterov-unasked", seen=NOWHERE, fix="the velocity alone, when asked to")
def muon_always_looks_ahead(x, gradients, *, nesterov=True, **hyper):
    """g + μv, always."""
    return muon(x, gradients, nesterov=True, **hyper)


@mistake("optimizers.muon", id="muon-coupled-decay", seen=NOWHERE, fix="shrink x itself, not the gradient")
def decay_is_orthogonalized(x, gradients, *, decay=0.0, **hyper):
    """g + λx is orthogonalized: the decay is as long as any gradient."""
    path: list[torch.Tensor] = []
    for t in range(1, len(gradients) + 1):
        path.append(muon(x, gradients[:t] + decay * torch.stack([x, *path]), **hyper)[-1])
    return torch.stack(path)


@mistake("optimizers.muon", id="muon-forgets", seen=NOWHERE, fix="keep the velocity")
def velocity_is_lost(x, gradients, *, mu=0.95, **hyper):
    """Every step orthogonalizes its own gradient only."""
    return muon(x, gradients, mu=0.0, **hyper)
