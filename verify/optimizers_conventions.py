"""Other definitions in use: each takes an implementation of ours and turns its path into the other one."""

from __future__ import annotations

import torch


def averaged(momentum, x, gradients, *, mu, decay=0.0, **hyper):
    """v ← μv + (1 − μ)g, so that the velocity is an average."""
    return momentum(x, (1 - mu) * gradients, mu=mu, decay=(1 - mu) * decay, **hyper)


def damped_from_the_start(momentum, x, gradients, *, dampening=0.0, decay=0.0, **hyper):
    """v ← μv + (1 − τ)g from v = 0, at the first step too."""
    first = (1 - dampening) * gradients[:1] - dampening * decay * x
    return momentum(x, torch.cat([first, gradients[1:]]), dampening=dampening, decay=decay, **hyper)


def absolute_decay(optimizer, x, gradients, *, lr, decay, **hyper):
    """λ takes the place of ηλ."""
    return optimizer(x, gradients, lr=lr, decay=decay / lr, **hyper)


def shortcut(adam, x, gradients, *, lr, beta2=0.999, eps=1e-8, decay=None, **hyper):
    """ε is added to √v, and both are divided by √(1 − β₂ᵗ): at step t it is an ε of its own."""
    plain, path = {"decay": 0.0} if decay is not None else {}, []
    for t in range(1, len(gradients) + 1):
        own = {"lr": lr, "beta2": beta2, "eps": eps / (1 - beta2**t) ** 0.5}
        last = adam(torch.zeros_like(x), gradients[:t], **own, **plain, **hyper)
        x = (x * (1 - lr * decay) if decay else x) + torch.diff(last, dim=0, prepend=torch.zeros_like(last[:1]))[-1]
        path.append(x)
    return torch.stack(path)


def root_of_all(start):
    """RMSprop with ε inside the root, its mean square starting at `start`."""

    def path(_, x, gradients, *, lr, alpha=0.99, eps=1e-8):
        s, seen = torch.full_like(x, start), []
        for g in gradients:
            s = alpha * s + (1 - alpha) * g**2
            x = x - lr * g / (s + eps).sqrt()
            seen.append(x)
        return torch.stack(seen)

    return path
