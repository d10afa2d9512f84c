"""Whole trajectories of 100 steps, equal to torch.optim's and optax's in float64, no hyper-parameter at its default."""

import pytest
import torch

from reference.optimizers import (
    accumulate,
    adam,
    adam_init,
    adam_update,
    adamw,
    clip_by_global_norm,
    lion,
    momentum,
    muon,
    newton_schulz,
    rmsprop,
    sgd,
)

F = torch.float64
STEPS = 100


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F)


def by_torch(build, x, gradients):
    parameter = torch.nn.Parameter(x.clone())
    optimizer, path = build([parameter]), []
    for g in gradients:
        parameter.grad = g.clone()
        optimizer.step()
        path.append(parameter.detach().clone())
    return torch.stack(path)


def by_optax(transform, x, gradients):
    import jax

    jax.config.update("jax_enable_x64", True)
    at, path = jax.numpy.asarray(x.numpy()), []
    state, update = transform.init(at), jax.jit(transform.update)
    for g in jax.numpy.asarray(gradients.numpy()):
        move, state = update(g, state, at)
        at = at + move
        path.append(torch.from_numpy(jax.device_get(at).copy()))
    return torch.stack(path)


X, GRADIENTS = draw(5), draw(STEPS, 5, seed=1)


def equal(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


PAIRS = {
    "sgd": (lambda x, g: sgd(x, g, lr=0.03, decay=0.2), lambda p: torch.optim.SGD(p, lr=0.03, weight_decay=0.2)),
    "momentum": (
        lambda x, g: momentum(x, g, lr=0.02, mu=0.7, dampening=0.3, decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.7, dampening=0.3, weight_decay=0.1),
    ),
    "nesterov": (
        lambda x, g: momentum(x, g, lr=0.02, mu=0.7, nesterov=True, decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.7, nesterov=True, weight_decay=0.1),
    ),
    "rmsprop": (
        lambda x, g: rmsprop(x, g, lr=0.02, alpha=0.8, eps=0.03),
        lambda p: torch.optim.RMSprop(p, lr=0.02, alpha=0.8, eps=0.03),
    ),
    "adam": (
        lambda x, g: adam(x, g, lr=0.05, beta1=0.8, beta2=0.97, eps=1e-3),
        lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.97), eps=1e-3),
    ),
    "adamw": (
        lambda x, g: adamw(x, g, lr=0.05, beta1=0.8, beta2=0.97, eps=1e-3, decay=0.3),
        lambda p: torch.optim.AdamW(p, lr=0.05, betas=(0.8, 0.97), eps=1e-3, weight_decay=0.3),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_trajectories_are_torchs(name):
    ours, theirs = PAIRS[name]
    equal(ours(X, GRADIENTS), by_torch(theirs, X, GRADIENTS))


def of_optax(name):
    """The same in optax: where its convention differs, what turns one into the other."""
    import optax

    coupled = optax.add_decayed_weights  # before the optimizer: part of the gradient, as torch.optim.SGD has it
    return {
        "sgd": lambda: optax.chain(coupled(0.2), optax.sgd(0.03)),
        "nesterov": lambda: optax.chain(coupled(0.1), optax.sgd(0.02, momentum=0.7, nesterov=True)),
        # optax's ε stands inside the root, unless eps_in_sqrt is False
        "rmsprop": lambda: optax.rmsprop(0.02, decay=0.8, eps=0.03, eps_in_sqrt=False, initial_scale=0.0),
        "adam": lambda: optax.adam(0.05, b1=0.8, b2=0.97, eps=1e-3),
        "adamw": lambda: optax.adamw(0.05, b1=0.8, b2=0.97, eps=1e-3, weight_decay=0.3),
    }[name]()


@pytest.mark.parametrize("name", ["sgd", "nesterov", "rmsprop", "adam", "adamw"])
def test_trajectories_are_optaxs(name):
    equal(PAIRS[name][0](X, GRADIENTS), by_optax(of_optax(name), X, GRADIENTS))


def test_momentum_is_optaxs_without_dampening_which_it_does_not_have():
    import optax

    transform = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.02, momentum=0.7))
    equal(momentum(X, GRADIENTS, lr=0.02, mu=0.7, decay=0.1), by_optax(transform, X, GRADIENTS))


def test_lion_is_optaxs():
    import optax

    transform = optax.lion(0.03, b1=0.8, b2=0.9, weight_decay=0.3)
    equal(lion(X, GRADIENTS, lr=0.03, beta1=0.8, beta2=0.9, decay=0.3), by_optax(transform, X, GRADIENTS))


@pytest.mark.parametrize("shape", [(3, 5), (6, 2)])
def test_newton_schulz_and_muon_are_optaxs(shape):
    """Which takes its plain average; its Nesterov step is another one, with a bias correction like NAdam's."""
    import jax
    import optax.contrib

    jax.config.update("jax_enable_x64", True)
    g = draw(*shape)
    coefficients = jax.numpy.array([3.4445, -4.775, 2.0315])
    theirs = optax.contrib._muon.orthogonalize_via_newton_schulz(jax.numpy.asarray(g.numpy()), coefficients, 4, eps=0.1)
    equal(newton_schulz(g, steps=4, eps=0.1), torch.from_numpy(jax.device_get(theirs).copy()))
    gradients = draw(STEPS, *shape, seed=1)
    ours = muon(g, gradients, lr=0.03, mu=0.8, nesterov=False, steps=4, eps=0.0, decay=0.2)
    hyper = {"ns_steps": 4, "beta": 0.8, "eps": 0.0, "weight_decay": 0.2, "nesterov": False}
    swapped = optax.contrib.MuonDimensionNumbers(1, 0)  # optax stores a matrix with the inputs first
    transform = optax.contrib.muon(0.03, muon_weight_dimension_numbers=swapped, **hyper)
    equal(ours, by_optax(transform, g, gradients))


@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_is_torchs_but_for_its_bfloat16(nesterov, monkeypatch):
    """With their iteration in float64, since ours is compared above; the velocity is an average there: no ε."""
    from torch.optim import _muon

    def in_float64(g, coefficients, steps, eps):
        return newton_schulz(g, steps=steps, eps=0.0)

    monkeypatch.setattr(_muon, "_zeropower_via_newtonschulz", in_float64)
    x, gradients, hyper = draw(6, 4), draw(STEPS, 6, 4, seed=1), {"lr": 0.03, "nesterov": nesterov}
    theirs = by_torch(lambda p: torch.optim.Muon(p, momentum=0.8, ns_steps=4, weight_decay=0.2, **hyper), x, gradients)
    equal(muon(x, gradients, mu=0.8, steps=4, eps=0.0, decay=0.2, **hyper), theirs)


def test_clipping_is_optaxs_and_torchs_but_for_a_millionth():
    import jax
    import optax

    jax.config.update("jax_enable_x64", True)
    gradients = [draw(3, 4), draw(5, seed=1), draw(seed=2)]
    for most in (0.7, 50.0):
        ours, transform = clip_by_global_norm(gradients, most), optax.clip_by_global_norm(most)
        theirs, _ = transform.update([jax.numpy.asarray(g.numpy()) for g in gradients], transform.init(None))
        for a, b in zip(ours, theirs, strict=True):
            equal(a, torch.from_numpy(jax.device_get(b).copy()))
        parameters = [torch.nn.Parameter(torch.zeros_like(g)) for g in gradients]
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = g.clone()
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, most))
        factor = norm / (norm + 1e-6) if norm > most else 1.0
        for a, p in zip(ours, parameters, strict=True):
            equal(a * factor, p.grad)


def test_accumulation_is_one_large_batch():
    """Cross-entropies of three microbatches with 2, 9 and 0 targets that count, against all in one."""
    weight, rows = draw(4, 3).requires_grad_(), draw(3, 9, 4, seed=1)
    target = torch.randint(0, 3, (3, 9), generator=torch.Generator().manual_seed(2))
    target[0, 2:] = target[2] = -100

    def gradient(rows, target):
        loss = torch.nn.functional.cross_entropy((rows @ weight).flatten(0, -2), target.flatten())
        return torch.autograd.grad(loss, weight)[0].flatten()

    means = torch.stack([gradient(r[None], t[None]) for r, t in zip(rows, target, strict=True)])
    means[2] = torch.nan  # as the mean loss over no target is
    equal(accumulate(means, (target >= 0).sum(1)), gradient(rows, target))


def test_adam_walks_to_the_worst_point_where_its_square_is_forgotten():
    """Reddi et al.: gradients 3, −1, −1 on [−1, 1], rates that fall like 1/√t; the minimum of the sum is at −1."""
    x, state = torch.zeros(1, dtype=F), adam_init(torch.zeros(1, dtype=F))
    for t in range(3000):
        g = torch.tensor([3.0 if t % 3 == 0 else -1.0], dtype=F)
        direction, state = adam_update(g, state, beta1=0.0, beta2=0.1, eps=0.0)
        x = (x - 0.3 / (t + 1) ** 0.5 * direction).clamp(-1, 1)
    assert x.item() > 0.99


NOTHING = torch.zeros(2, 3)
BAD = {
    "no token": (lambda: accumulate(NOTHING, torch.zeros(2).long()), "counts: expected at least one token"),
    "negative": (lambda: accumulate(NOTHING, torch.tensor([1, -1])), "counts: expected entries from 0"),
    "float": (lambda: accumulate(NOTHING, torch.ones(2)), "counts: expected an integer tensor"),
    "batches": (lambda: accumulate(NOTHING, torch.ones(3).long()), "axis N: expected one size, 2, received 3"),
    "vector": (lambda: newton_schulz(torch.zeros(3)), "g: expected axes F D"),
    "integer": (lambda: newton_schulz(torch.zeros(3, 3).long()), "g: expected a floating-point tensor"),
    "steps": (lambda: newton_schulz(NOTHING, steps=-1), "steps: expected an integer ≥ 0"),
    "epsilon": (lambda: newton_schulz(NOTHING, eps=-1.0), "eps: expected a number from 0"),
    "transposed": (lambda: muon(NOTHING, torch.zeros(4, 3, 2), lr=0.1), "axis F: expected one size, 2, received 3"),
    "rate": (lambda: muon(NOTHING, torch.zeros(4, 2, 3), lr=-0.1), "lr: expected a number from 0"),
    "decay": (lambda: muon(NOTHING, torch.zeros(4, 2, 3), lr=0.1, decay=-1.0), "decay: expected a number from 0"),
    "mu": (lambda: muon(NOTHING, torch.zeros(4, 2, 3), lr=0.1, mu=1.0), "mu: expected a number from 0 below 1"),
    "beta": (lambda: lion(NOTHING[0], NOTHING, lr=0.1, beta2=1.0), "beta2: expected a number from 0 below 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_nan_stays_where_it_is():
    g = torch.tensor([[1.0, float("nan")], [1.0, 1.0]], dtype=F)
    path = lion(torch.zeros(2, dtype=F), g, lr=0.1)
    assert path[:, 0].isfinite().all() and path[:, 1].isnan().all()
    assert newton_schulz(g).isnan().all()
    assert accumulate(g, torch.tensor([1, 2])).isnan().tolist() == [False, True]
