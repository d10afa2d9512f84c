"""The rates of whole runs, equal to torch's, optax's and transformers', which count steps from zero."""

import math

import pytest
import torch

from reference.schedules import constant, cosine, inverse_square_root, wsd

F = torch.float64
N, W, D, PEAK, LOW = 40, 7, 9, 0.03, 0.004
STEPS = torch.arange(1, N + 1)


def equal(ours, theirs):
    torch.testing.assert_close(ours, torch.as_tensor(theirs, dtype=F), rtol=1e-12, atol=1e-15)


def rates_of(build, count=N):
    """The rate with which torch takes each step; the scheduler is stepped after the optimizer."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler, rates = build(optimizer), []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def warm(optimizer):
    """From 1/W at the first step, which LinearLR numbers 0, to one at step W."""
    return torch.optim.lr_scheduler.LinearLR(optimizer, 1 / W, 1.0, total_iters=W - 1)


def test_torchs_schedulers_one_after_the_other():
    schedulers = torch.optim.lr_scheduler
    equal(constant(STEPS, peak=PEAK, warmup=W), rates_of(warm))
    equal(
        cosine(STEPS, peak=PEAK, total=N, warmup=W, low=LOW),
        rates_of(
            lambda o: schedulers.SequentialLR(
                o, [warm(o), schedulers.CosineAnnealingLR(o, N - W, eta_min=LOW)], milestones=[W - 1]
            )
        ),
    )
    equal(
        wsd(STEPS, peak=PEAK, total=N, decay=D, warmup=W, low=LOW),
        rates_of(
            lambda o: schedulers.SequentialLR(
                o, [warm(o), schedulers.LinearLR(o, 1.0, LOW / PEAK, total_iters=D)], milestones=[N - D - 1]
            )
        ),
    )


def test_torchs_cosine_begins_at_the_peak_and_rises_again():
    """Without a warm-up its first step has the peak, which is our W = 1; after its length it comes back up."""
    theirs = rates_of(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, N, eta_min=LOW), N + 6)
    ours = cosine(torch.arange(1, N + 7), peak=PEAK, total=N + 1, warmup=1, low=LOW)
    equal(ours[: N + 1], theirs[: N + 1])
    assert theirs[N + 5] > theirs[N] and (ours[N:] == ours[N]).all()


def test_optaxs_count_is_our_step_so_that_its_first_update_has_rate_zero():
    import jax
    import optax

    jax.config.update("jax_enable_x64", True)
    counts = torch.arange(N + 5)
    schedules = {
        "cosine": optax.warmup_cosine_decay_schedule(0.0, PEAK, W, N, LOW),
        "constant": optax.warmup_constant_schedule(0.0, PEAK, W),
        "wsd": optax.join_schedules(
            [optax.warmup_constant_schedule(0.0, PEAK, W), optax.linear_schedule(PEAK, LOW, D)], [N - D]
        ),
    }
    found = {name: [float(f(jax.numpy.asarray(int(t), float))) for t in counts] for name, f in schedules.items()}
    equal(cosine(counts, peak=PEAK, total=N, warmup=W, low=LOW), found["cosine"])
    equal(constant(counts, peak=PEAK, warmup=W), found["constant"])
    equal(wsd(counts, peak=PEAK, total=N, decay=D, warmup=W, low=LOW), found["wsd"])
    assert found["cosine"][0] == 0.0


def test_formulas_of_transformers_with_its_step_for_ours():
    """Written out from transformers/optimization.py, whose LambdaLR gives step number 0 to the first update."""
    steps = torch.arange(1, N + 5)

    def up(s):
        return s / max(1, W)

    for t in steps.tolist():
        one = torch.tensor([t])
        equal(constant(one, peak=1.0, warmup=W), [min(1.0, up(t))])
        part = min(1.0, (t - W) / (N - W))
        equal(cosine(one, peak=1.0, total=N, warmup=W), [up(t) if t < W else 0.5 * (1.0 + math.cos(math.pi * part))])
        equal(inverse_square_root(one, peak=1.0, warmup=W), [up(t) if t < W else 1.0 / math.sqrt(t / W)])
        decayed = 1.0 - (t - (N - D)) / D
        stage = up(t) if t < W else 1.0 if t < N - D else decayed * 0.9 + 0.1 if t < N else 0.1
        equal(wsd(one, peak=1.0, total=N, decay=D, warmup=W, low=0.1), [stage])


def test_vaswanis_formula_has_the_peak_of_the_width():
    width, t = 512, torch.arange(1, 20000, 37)
    theirs = width**-0.5 * torch.minimum(t.double() ** -0.5, t.double() * 4000**-1.5)
    equal(inverse_square_root(t, peak=1 / (width * 4000) ** 0.5, warmup=4000), theirs)


def test_shape_is_kept_and_the_step_before_the_first_has_nothing():
    grid = STEPS.reshape(5, 8)
    equal(cosine(grid, peak=PEAK, total=N, warmup=W), cosine(STEPS, peak=PEAK, total=N, warmup=W).reshape(5, 8))
    assert constant(torch.tensor(0), peak=PEAK, warmup=W) == 0 and constant(torch.tensor(0), peak=PEAK) == PEAK


T = torch.arange(1, 4)
BAD = {
    "float steps": (lambda: constant(T.double(), peak=1.0), "t: expected an integer tensor"),
    "negative step": (lambda: constant(-T, peak=1.0), "t: expected entries from 0"),
    "no steps": (lambda: constant(T[:0], peak=1.0), "t: expected at least one step"),
    "negative peak": (lambda: constant(T, peak=-1.0), "peak: expected a number from 0"),
    "half a step": (lambda: constant(T, peak=1.0, warmup=2.5), "warmup: expected an integer ≥ 0"),
    "nothing but warm-up": (lambda: cosine(T, peak=1.0, total=5, warmup=5), "total: expected an integer ≥ 6"),
    "low above the peak": (lambda: cosine(T, peak=1.0, total=5, low=2.0), "low: expected a number from 0 to 1"),
    "no warm-up": (lambda: inverse_square_root(T, peak=1.0, warmup=0), "warmup: expected an integer ≥ 1"),
    "no decay": (lambda: wsd(T, peak=1.0, total=5, decay=0), "decay: expected an integer ≥ 1"),
    "too long": (lambda: wsd(T, peak=1.0, total=5, decay=3, warmup=3), "total: expected an integer ≥ 6"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
