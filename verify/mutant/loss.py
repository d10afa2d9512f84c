"""Mistakes in the cross-entropy, in its gradient by hand, and in the z-loss; those of the shift are beside."""

from __future__ import annotations

import math

import torch

from reference.loss import cross_entropy, cross_entropy_gradient
from reference.softmax import log_sum_exp, softmax
from verify.mistake import mistake

NOWHERE = "no public report found"


def surprises(z, target, label_smoothing=0.0):
    """−Σ_j q_j log p_j of every row by itself; an ignored target is taken for the first symbol."""
    V = z.shape[-1]
    inside = torch.where((target >= 0) & (target < V), target, 0)
    plain = log_sum_exp(z) - z.gather(1, inside[:, None]).squeeze(1)
    return (1 - label_smoothing) * plain + label_smoothing * (log_sum_exp(z) - z.mean(-1))


@mistake(
    "loss.cross_entropy",
    id="ce-double-softmax",
    seen="tflearn/tflearn PR#562; Lightning-Universe/lightning-bolts #654",
    fix="pass logits, not probabilities",
)
def softmax_of_softmax(z, target, **options):
    """Probabilities are taken for logits."""
    return cross_entropy(softmax(z), target, **options)


@mistake("loss.cross_entropy", id="ce-mean-over-classes", seen=NOWHERE, fix="divide by N, not by N·V")
def mean_over_rows_and_classes(z, target, **options):
    """The mean is over all entries of the one-hot product."""
    return cross_entropy(z, target, **options) / z.shape[-1]


@mistake("loss.cross_entropy", id="ce-out-of-step", seen=NOWHERE, fix="row t is scored against its own target")
def scored_against_the_next_row(z, target, **options):
    """Rows and targets are out of step by one."""
    return cross_entropy(z, target.roll(-1), **options)


@mistake("loss.cross_entropy", id="ce-bits", seen=NOWHERE, fix="natural logarithm, or say bits")
def logarithm_to_base_two(z, target, **options):
    """Bits are reported as nats."""
    return cross_entropy(z, target, **options) / math.log(2)


@mistake("loss.cross_entropy", id="softmax-no-max", seen=NOWHERE, fix="z_target − log_sum_exp(z), shifted")
def logarithm_of_an_overflow(z, target, ignore_index=-100, label_smoothing=0.0):
    """log of exp over the sum of exp, neither shifted."""
    counted = target != ignore_index
    logs = (z[counted].exp() / z[counted].exp().sum(-1, keepdim=True)).log()
    plain, even = logs.gather(-1, target[counted].unsqueeze(-1)).squeeze(-1), logs.mean(-1)
    return -((1 - label_smoothing) * plain + label_smoothing * even).mean()


@mistake("loss.cross_entropy", id="ce-log-epsilon", seen=NOWHERE, fix="stay in logarithms: no epsilon is needed")
def epsilon_inside_the_logarithm(z, target, ignore_index=-100, label_smoothing=0.0):
    """log(p + 1e-10) caps the loss at 23 nats."""
    counted = target != ignore_index
    logs = (softmax(z)[counted] + 1e-10).log()
    plain, even = logs.gather(-1, target[counted].unsqueeze(-1)).squeeze(-1), logs.mean(-1)
    return -((1 - label_smoothing) * plain + label_smoothing * even).mean()


@mistake("loss.cross_entropy", id="ce-epsilon-denominator", seen=NOWHERE, fix="divide by the number of counted rows")
def epsilon_beside_the_count(z, target, ignore_index=-100, label_smoothing=0.0):
    """The sum is divided by n + 1e-8."""
    counted = target != ignore_index
    return (surprises(z, target, label_smoothing) * counted).sum() / (counted.sum() + 1e-8)


@mistake(
    "loss.cross_entropy",
    id="label-smoothing-ignores-mask",
    seen="pytorch/pytorch #73205",
    fix="leave ignored rows out of both terms",
)
def smoothed_over_ignored_rows(z, target, ignore_index=-100, label_smoothing=0.0):
    """The uniform term is summed over ignored rows too."""
    counted, even = target != ignore_index, log_sum_exp(z) - z.mean(-1)
    plain = (surprises(z, target) * counted).sum()
    return ((1 - label_smoothing) * plain + label_smoothing * even.sum()) / counted.sum()


@mistake(
    "loss.cross_entropy",
    id="label-smoothing-pad-denominator",
    seen="huggingface/transformers PR#5919 (review); eladhoffer/utils.pytorch #4",
    fix="divide by the number of counted rows",
)
def divided_by_all_rows(z, target, ignore_index=-100, label_smoothing=0.0):
    """Ignored rows cost nothing, but count."""
    return (surprises(z, target, label_smoothing) * (target != ignore_index)).mean()


@mistake(
    "loss.cross_entropy",
    id="label-smoothing-mask-inverted",
    seen="awslabs/sockeye #200",
    fix="zero where the target is ignored",
)
def only_ignored_rows_are_smoothed(z, target, ignore_index=-100, label_smoothing=0.0):
    """The uniform term is kept in the ignored rows and zero in the others."""
    counted, even = target != ignore_index, log_sum_exp(z) - z.mean(-1)
    plain = (1 - label_smoothing) * surprises(z, target)
    return torch.where(counted, plain, label_smoothing * even).sum() / counted.sum()


@mistake("loss.cross_entropy", id="label-smoothing-excess", seen=NOWHERE, fix="q = (1 − ε) one_hot + ε/V")
def target_keeps_its_weight(z, target, ignore_index=-100, label_smoothing=0.0):
    """q = one_hot + ε/V sums to more than one."""
    even = cross_entropy(z, target, ignore_index, 1.0)
    return cross_entropy(z, target, ignore_index) + label_smoothing * even


@mistake("loss.cross_entropy", id="ce-ignored-as-first-symbol", seen=NOWHERE, fix="leave ignored rows out")
def ignored_clamped_and_counted(z, target, ignore_index=-100, label_smoothing=0.0):
    """Ignored targets are clamped into the vocabulary, and their rows count."""
    return surprises(z, torch.where(target == ignore_index, 0, target), label_smoothing).mean()


@mistake("loss.cross_entropy", id="ce-hardcoded-ignore", seen=NOWHERE, fix="compare with ignore_index")
def ignores_minus_hundred_only(z, target, ignore_index=-100, label_smoothing=0.0):
    """The mark is −100, whatever is asked for."""
    return cross_entropy(z, target, -100, label_smoothing)


def means_of_halves(z, target, options):
    """The losses of two microbatches, each a mean over its own rows."""
    return torch.stack([cross_entropy(*half, **options) for half in zip(z.chunk(2), target.chunk(2), strict=True)])


@mistake(
    "loss.cross_entropy",
    id="gradacc-mean-of-means",
    seen="meta-pytorch/torchtune PR#1875; ml-explore/mlx-lm PR#1413",
    fix="sum over microbatches, then divide by all counted rows",
)
def mean_of_means(z, target, **options):
    """Two microbatches weigh the same, whatever they count."""
    return means_of_halves(z, target, options).mean()


@mistake("loss.cross_entropy", id="gradacc-no-division", seen="agokrani/distillKitPlus #5", fix="divide by all rows")
def sum_of_means(z, target, **options):
    """The means of two microbatches are added."""
    return means_of_halves(z, target, options).sum()


@mistake("loss.cross_entropy_gradient", id="ce-gradient-sum", seen=NOWHERE, fix="divide by n: the loss is a mean")
def not_divided_by_the_batch(z, target, ignore_index=-100, label_smoothing=0.0):
    """The gradient of the sum."""
    counted = (target != ignore_index).sum()
    return cross_entropy_gradient(z, target, ignore_index, label_smoothing) * counted


@mistake("loss.cross_entropy_gradient", id="ce-gradient-sign", seen=NOWHERE, fix="p − y, which descends the loss")
def target_minus_probability(z, target, **options):
    """y − p."""
    return -cross_entropy_gradient(z, target, **options)


@mistake("loss.cross_entropy_gradient", id="ce-gradient-row", seen=NOWHERE, fix="subtract one in the row's own target")
def one_subtracted_in_the_wrong_row(z, target, **options):
    """Row n is given the target of row n + 1."""
    return cross_entropy_gradient(z, target.roll(-1), **options)


@mistake("loss.cross_entropy_gradient", id="ce-gradient-no-target", seen=NOWHERE, fix="subtract the one-hot target")
def probability_only(z, target, ignore_index=-100, label_smoothing=0.0):
    """p/n: the target's one is not subtracted."""
    counted = target != ignore_index
    return torch.where(counted[:, None], softmax(z) / counted.sum(), 0)


@mistake("loss.cross_entropy_gradient", id="ce-double-softmax", seen="tflearn/tflearn PR#562", fix="pass logits")
def gradient_at_the_probabilities(z, target, **options):
    """softmax(softmax(z)) − y."""
    return cross_entropy_gradient(softmax(z), target, **options)


@mistake("loss.cross_entropy_gradient", id="label-smoothing-pad-denominator", seen="eladhoffer/utils.pytorch #4",
         fix="divide by the number of counted rows")  # fmt: skip
def gradient_over_all_rows(z, target, ignore_index=-100, label_smoothing=0.0):
    """Ignored rows have slope zero, but count."""
    share = (target != ignore_index).sum() / len(z)
    return cross_entropy_gradient(z, target, ignore_index, label_smoothing) * share


@mistake("loss.cross_entropy_gradient", id="ce-gradient-ignored", seen=NOWHERE, fix="zero in ignored rows")
def ignored_rows_are_pushed_down(z, target, ignore_index=-100, label_smoothing=0.0):
    """In ignored rows nothing is subtracted, but p remains."""
    counted = target != ignore_index
    slope = cross_entropy_gradient(z, target, ignore_index, label_smoothing)
    return torch.where(counted[:, None], slope, softmax(z) / counted.sum().clamp(min=1))


@mistake("loss.cross_entropy_gradient", id="ce-gradient-unsmoothed", seen=NOWHERE, fix="p − q with the smoothed q")
def smoothing_forgotten(z, target, ignore_index=-100, label_smoothing=0.0):
    """p − one_hot, though the loss is smoothed."""
    return cross_entropy_gradient(z, target, ignore_index)


@mistake(
    "loss.z_loss", id="zloss-naive-lse", seen="databricks/megablocks PR#133 (review)", fix="subtract the row's maximum"
)
def naive_log_of_sum(z, weight=1e-4):
    """log Σ exp z overflows."""
    return weight * (z.exp().sum(-1).log() ** 2).mean()


@mistake("loss.z_loss", id="zloss-not-squared", seen=NOWHERE, fix="square log Σ exp z")
def normalizer_not_squared(z, weight=1e-4):
    """The mean of log Σ exp z, which has no least value."""
    return weight * log_sum_exp(z).mean()


@mistake("loss.z_loss", id="zloss-square-of-mean", seen=NOWHERE, fix="square each row, then average")
def squared_after_the_mean(z, weight=1e-4):
    """Rows above and below zero cancel."""
    return weight * log_sum_exp(z).mean() ** 2


@mistake("loss.z_loss", id="zloss-of-logits", seen=NOWHERE, fix="penalise log Σ exp z, not the logits")
def logits_squared(z, weight=1e-4):
    """The mean square of the logits."""
    return weight * (z**2).mean()


@mistake("loss.z_loss", id="zloss-of-largest", seen=NOWHERE, fix="log Σ exp z, not the largest logit")
def largest_logit_squared(z, weight=1e-4):
    """The largest logit stands for log Σ exp z: max-z loss."""
    return weight * (z.amax(-1) ** 2).mean()


@mistake("loss.z_loss", id="zloss-mean-of-exponentials", seen=NOWHERE, fix="sum the exponentials")
def exponentials_averaged(z, weight=1e-4):
    """ln V is missing."""
    return weight * ((log_sum_exp(z) - math.log(z.shape[-1])) ** 2).mean()


@mistake("loss.z_loss", id="zloss-weight-inside", seen=NOWHERE, fix="multiply by the weight after the square")
def weight_is_squared_too(z, weight=1e-4):
    """(weight · log Σ exp z)²."""
    return ((weight * log_sum_exp(z)) ** 2).mean()
