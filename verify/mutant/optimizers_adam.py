"""Mistakes in Adam, in AdamW and in one step of it."""

from __future__ import annotations

import torch

from reference.optimizers import adam, adamw, adamw_step
from verify.mistake import mistake

NOWHERE = "no public report found"


def right(m, v, c1, c2, eps):
    """The direction, from the moments and their corrections 1 − βᵗ."""
    return m / c1 / ((v / c2).sqrt() + eps)


def uncorrected(m, v, c1, c2, eps):
    """m/(√v + ε)."""
    return m / (v.sqrt() + eps)


def step_of(x, g, m, v, direction=right, *, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0, late=0, by=lambda x: x):
    """AdamW's step with another direction, a step number moved by `late`, or a decay by another function of x."""
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    one = torch.ones((), dtype=torch.float64)
    c1, c2 = (one - (one * beta) ** (t + late) for beta in (beta1, beta2))
    return x - lr * decay * by(x) - lr * direction(m, v, c1, c2, eps), m, v


def inside(m, v, c1, c2, eps):
    """The direction with ε within the root."""
    return m / c1 / (v / c2 + eps).sqrt()


def path_of(x, gradients, direction=right, **hyper):
    """The path of such steps."""
    m, v, path = torch.zeros_like(x), torch.zeros_like(x), []
    for t, g in enumerate(gradients, 1):
        x, m, v = step_of(x, g, m, v, direction, t=t, **hyper)
        path.append(x)
    return torch.stack(path)


def stored(x, g, m, v, *, t, beta1=0.9, beta2=0.999, **hyper):
    """One step after which m and v are m̂ and v̂."""
    x, m, v = adamw_step(x, g, m, v, t=t, beta1=beta1, beta2=beta2, **hyper)
    return x, m / (1 - beta1**t), v / (1 - beta2**t)


def chained(x, gradients, step, **hyper):
    """The path of any step."""
    m, v, path = torch.zeros_like(x), torch.zeros_like(x), []
    for t, g in enumerate(gradients, 1):
        x, m, v = step(x, g, m, v, t=t, **hyper)
        path.append(x)
    return torch.stack(path)


@mistake("optimizers.adam", id="adam-eps-inside-sqrt", seen="d2l-ai/d2l-zh PR#502", fix="add ε after the root: √v̂ + ε")
def epsilon_inside_the_root(x, gradients, **hyper):
    """m̂/√(v̂ + ε)."""
    return path_of(x, gradients, inside, **hyper)


@mistake(
    "optimizers.adam", id="adam-double-one-minus", seen="kozistr/AdaBound-tensorflow #3", fix="correct by √(1 − β₂^t)"
)
def one_minus_twice(x, gradients, **hyper):
    """The second correction is 1 − (1 − β₂^t)."""
    return path_of(x, gradients, lambda m, v, c1, c2, eps: right(m, v, c1, 1 - c2, eps), **hyper)


@mistake(
    "optimizers.adam",
    id="adam-inplace-correction",
    seen="frgfm/Holocron #1",
    fix="correct a copy, keep m and v as they are",
)
def correction_is_stored(x, gradients, **hyper):
    """m and v are overwritten by m̂ and v̂: right at step one only."""
    return chained(x, gradients, stored, decay=0.0, **hyper)


@mistake("optimizers.adam", id="adam-no-bias-correction", seen=NOWHERE, fix="divide m by 1 − β₁^t and v by 1 − β₂^t")
def moments_not_corrected(x, gradients, **hyper):
    """m/(√v + ε)."""
    return path_of(x, gradients, uncorrected, **hyper)


@mistake("optimizers.adam", id="adam-step-from-zero", seen=NOWHERE, fix="count the first step as one")
def step_counted_from_zero(x, gradients, **hyper):
    """1 − β^(t−1), which is zero at the first step."""
    return path_of(x, gradients, late=-1, **hyper)


@mistake("optimizers.adam", id="adam-step-ahead", seen=NOWHERE, fix="correct step t by 1 − β^t")
def step_counted_twice_at_first(x, gradients, **hyper):
    """1 − β^(t+1)."""
    return path_of(x, gradients, late=1, **hyper)


@mistake("optimizers.adam", id="adam-corrections-swapped", seen=NOWHERE, fix="β₁ corrects m, β₂ corrects v")
def corrections_swapped(x, gradients, **hyper):
    """m is corrected by β₂ and v by β₁."""
    return path_of(x, gradients, lambda m, v, c1, c2, eps: right(m, v, c2, c1, eps), **hyper)


@mistake("optimizers.adam", id="adam-betas-swapped", seen=NOWHERE, fix="β₁ averages g, β₂ averages g²")
def betas_swapped(x, gradients, *, beta1=0.9, beta2=0.999, **hyper):
    """The two decay rates are exchanged throughout."""
    return adam(x, gradients, beta1=beta2, beta2=beta1, **hyper)


@mistake("optimizers.adam", id="adam-l2", seen=NOWHERE, fix="no weight decay unless asked for")
def decay_inside_the_gradient(x, gradients, **hyper):
    """One percent of the start is added to the gradients and so divided by √v̂."""
    return adam(x, gradients + 0.01 * x, **hyper)


@mistake("optimizers.adamw", id="adamw-coupled", seen=NOWHERE, fix="shrink x itself, and leave the moments alone")
def decay_enters_the_moments(x, gradients, *, decay=0.01, **hyper):
    """g + λx goes into the moments: Adam with L2."""
    return chained(x, gradients, lambda x, g, m, v, **h: adamw_step(x, g + decay * x, m, v, decay=0.0, **h), **hyper)


@mistake("optimizers.adamw", id="l1-l2-swapped", seen="OverLordGoldDragon/keras-adamw #39", fix="decay by ηλx")
def decayed_by_the_sign(x, gradients, *, decay=0.01, **hyper):
    """ηλ sign x: what L1 would subtract."""
    return path_of(x, gradients, decay=decay, by=torch.sign, **hyper)


@mistake("optimizers.adamw", id="adamw-decay-after", seen=NOWHERE, fix="decay x as it was before the step")
def decays_what_has_moved(x, gradients, *, lr, decay=0.01, **hyper):
    """(1 − ηλ)(x − η m̂/(√v̂ + ε)): the step is decayed too."""

    def step(*now, **h):
        x, m, v = adamw_step(*now, decay=0.0, **h)
        return x * (1 - lr * decay), m, v

    return chained(x, gradients, step, lr=lr, **hyper)


@mistake("optimizers.adamw", id="adamw-no-decay", seen=NOWHERE, fix="shrink x by 1 − ηλ at every step")
def decay_forgotten(x, gradients, *, decay=0.01, **hyper):
    """Adam."""
    return adam(x, gradients, **hyper)


@mistake("optimizers.adamw", id="adamw-decay-rate-squared", seen=NOWHERE, fix="decay by ηλx, once")
def decay_times_the_rate_twice(x, gradients, *, lr, decay=0.01, **hyper):
    """η²λx: the product ηλ is scaled once more with the direction."""
    return adamw(x, gradients, lr=lr, decay=lr * decay, **hyper)


@mistake("optimizers.adamw", id="adam-no-bias-correction", seen=NOWHERE, fix="divide m by 1 − β₁^t and v by 1 − β₂^t")
def decayed_but_not_corrected(x, gradients, *, decay=0.01, **hyper):
    """The direction is m/(√v + ε)."""
    return path_of(x, gradients, uncorrected, decay=decay, **hyper)


@mistake("optimizers.adamw", id="adam-inplace-correction", seen="frgfm/Holocron #1", fix="keep m and v as they are")
def decayed_and_correction_stored(x, gradients, **hyper):
    """m and v are overwritten by m̂ and v̂: right at step one only."""
    return chained(x, gradients, stored, **hyper)


@mistake("optimizers.adamw_step", id="adam-eps-inside-sqrt", seen="d2l-ai/d2l-zh PR#502", fix="√v̂ + ε")
def step_with_epsilon_inside(x, g, m, v, *, decay=0.01, **hyper):
    """m̂/√(v̂ + ε)."""
    return step_of(x, g, m, v, inside, decay=decay, **hyper)


@mistake("optimizers.adamw_step", id="adam-still-without-variance", seen=NOWHERE, fix="m̂/ε where v is zero")
def step_still_without_variance(x, g, m, v, *, decay=0.01, **hyper):
    """Where v is zero nothing moves, whatever m is."""

    def still(m, v, c1, c2, eps):
        return torch.where(v == 0, 0, right(m, v, c1, c2, eps))

    return step_of(x, g, m, v, still, decay=decay, **hyper)


@mistake("optimizers.adamw_step", id="adam-double-one-minus", seen="kozistr/AdaBound-tensorflow #3", fix="√(1 − β₂^t)")
def step_with_one_minus_twice(x, g, m, v, *, decay=0.01, **hyper):
    """The second correction is 1 − (1 − β₂^t)."""
    return step_of(x, g, m, v, lambda m, v, c1, c2, eps: right(m, v, c1, 1 - c2, eps), decay=decay, **hyper)


@mistake("optimizers.adamw_step", id="adam-inplace-correction", seen="frgfm/Holocron #1", fix="return m and v")
def step_returning_the_corrected(x, g, m, v, **hyper):
    """m̂ and v̂ are returned for m and v."""
    return stored(x, g, m, v, **hyper)


@mistake("optimizers.adamw_step", id="adam-no-bias-correction", seen=NOWHERE, fix="divide by 1 − β₁^t and 1 − β₂^t")
def step_not_corrected(x, g, m, v, *, decay=0.01, **hyper):
    """m/(√v + ε)."""
    return step_of(x, g, m, v, uncorrected, decay=decay, **hyper)


@mistake("optimizers.adamw_step", id="adam-step-from-zero", seen=NOWHERE, fix="t counts this step: it starts at one")
def step_counted_late(x, g, m, v, *, decay=0.01, **hyper):
    """1 − β^(t−1), which is zero at the first step."""
    return step_of(x, g, m, v, decay=decay, late=-1, **hyper)


@mistake("optimizers.adamw_step", id="adam-stale-moments", seen=NOWHERE, fix="update m and v before dividing")
def step_by_the_old_moments(x, g, m, v, *, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    """The direction is taken from m and v as they came."""
    _, new_m, new_v = adamw_step(x, g, m, v, t=t, lr=lr, beta1=beta1, beta2=beta2)
    return x * (1 - lr * decay) - lr * right(m, v, 1 - beta1**t, 1 - beta2**t, eps), new_m, new_v


@mistake("optimizers.adamw_step", id="adamw-coupled", seen=NOWHERE, fix="shrink x itself, leave the moments alone")
def step_with_decay_in_the_moments(x, g, m, v, *, decay=0.01, **hyper):
    """g + λx goes into the moments."""
    return adamw_step(x, g + decay * x, m, v, decay=0.0, **hyper)


@mistake(
    "optimizers.adamw_step", id="adam-mean-of-gradient-squared", seen=NOWHERE, fix="average g², not the square of m"
)
def step_squaring_the_average(x, g, m, v, *, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    """v takes up m² where it should take up g²."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * m**2
    return x * (1 - lr * decay) - lr * right(m, v, 1 - beta1**t, 1 - beta2**t, eps), m, v


PLAIN = {
    "id": "adamw-decay-not-times-lr",
    "seen": "tensorflow/addons #2282",
    "fix": "multiply the decay by the learning rate; the paper's λ, which is not, is ours over η",
}


@mistake("optimizers.adamw", **PLAIN)
def decay_without_the_rate(x, gradients, *, lr, decay=0.01, **hyper):
    """x ← (1 − λ)x: with λ = 0.1 the parameters halve in seven steps."""
    return adamw(x, gradients, lr=lr, decay=decay / lr, **hyper)


@mistake("optimizers.adamw_step", **PLAIN)
def step_of_decay_without_the_rate(x, g, m, v, *, lr, decay=0.01, **hyper):
    """x ← (1 − λ)x − η m̂/(√v̂ + ε)."""
    return adamw_step(x, g, m, v, lr=lr, decay=decay / lr, **hyper)


def narrow(x):
    """What bfloat16 holds of x."""
    return x.bfloat16().double()


@mistake(
    "optimizers.adamw_step",
    id="bf16-update-lost",
    seen="workofart/ml-by-hand PR#85; vllm-project/speculators PR#765",
    fix="keep the parameters in float32, or round at random",
)
def step_lost_in_rounding(x, g, m, v, **hyper):
    """The parameters are held in bfloat16: steps below a 512th of them are rounded away."""
    moved, m, v = adamw_step(x, g, m, v, **hyper)
    return narrow(moved), m, v


@mistake("optimizers.adamw", id="wd-bf16-noop", seen="Nerogar/OneTrainer #996", fix="decay in float32")
def decay_lost_in_rounding(x, gradients, *, lr, decay=0.01, **hyper):
    """x(1 − ηλ) is rounded to bfloat16, which is x when ηλ is small."""

    def step(x, g, m, v, **h):
        moved, m, v = adamw_step(x, g, m, v, decay=0.0, **h)
        return narrow(x * (1 - lr * decay)) + (moved - x), m, v

    return chained(x, gradients, step, lr=lr, **hyper)
