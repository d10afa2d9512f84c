"""Mistakes in the Kullback–Leibler and the Jensen–Shannon divergence."""

from __future__ import annotations

import math

import torch

from reference.information import cross_entropy, entropy, js_divergence, kl_divergence
from verify.mistake import mistake

NOWHERE = "no public report found"


@mistake(
    "information.kl_divergence",
    id="kd-reverse-kl",
    seen="paiml/aprender PR#2153",
    fix="D(truth‖model): weights and the first logarithm from p",
)
def reversed_direction(p, q, base=math.e):
    """D(q‖p)."""
    return kl_divergence(q, p, base)


@mistake(
    "information.kl_divergence",
    id="kl-constant-lost",
    seen="jongwooko/distillm #7",
    fix="subtract the entropy of p: Σ p log p",
)
def cross_entropy_for_divergence(p, q, base=math.e):
    """Σ p log p is left out: it is no divergence, though its gradient by q is right."""
    return cross_entropy(p, q, base)


@mistake(
    "information.kl_divergence",
    id="kl-log-of-model-missing",
    seen="microsoft/ProDA #20, #43",
    fix="torch.nn.functional.kl_div takes log q first, then p",
)
def probabilities_for_logarithms(p, q, base=math.e):
    """kl_div(q, p): q's probabilities stand where their logarithms should."""
    return (cross_entropy(p, torch.exp(q)) - entropy(p)) / math.log(base)


@mistake(
    "information.kl_divergence",
    id="kl-arguments-in-order",
    seen="Jeryi-Sun/REDEeP-ICLR #2",
    fix="torch.nn.functional.kl_div(log q, p) is D(p‖q)",
)
def arguments_read_as_written(p, q, base=math.e):
    """kl_div(log p, q), which is D(q‖p), for D(p‖q)."""
    return torch.nn.functional.kl_div(p.log(), q, reduction="none").sum(-1) / math.log(base)


@mistake("information.kl_divergence", id="kl-mean-over-classes", seen="HikariTJU/LD #74", fix="sum over the symbols")
def mean_over_classes(p, q, base=math.e):
    """reduction="mean" divides by the symbols too."""
    return kl_divergence(p, q, base) / p.shape[-1]


@mistake("information.kl_divergence", id="entropy-zero-nan", seen="drostlab/philentropy #1", fix="0 log 0 = 0")
def ratio_of_zeros(p, q, base=math.e):
    """0 · log 0 where p is zero."""
    return (p * (p / q).log()).sum(-1) / math.log(base)


@mistake("information.kl_divergence", id="entropy-zero-nan", seen=NOWHERE, fix="leave out symbols that p never has")
def model_agrees_that_it_is_impossible(p, q, base=math.e):
    """kl_div(log q, p) is 0 · ∞ where both are zero."""
    return torch.nn.functional.kl_div(q.log(), p, reduction="none").sum(-1) / math.log(base)


@mistake("information.kl_divergence", id="kl-absolute", seen=NOWHERE, fix="keep the sign of each term")
def terms_without_sign(p, q, base=math.e):
    """Each term is made positive: those where q exceeds p no longer count against the others."""
    ratio = torch.where(p > 0, p / q, 1)
    return (p * ratio.log()).abs().sum(-1) / math.log(base)


@mistake("information.kl_divergence", id="info-log-epsilon", seen="modelscope/easydistill PR#16", fix="it is infinite")
def divergence_is_capped(p, q, base=math.e):
    """A model that excludes what comes is forgiven at 1e-10."""
    return kl_divergence(p, q.clamp(min=1e-10), base)


@mistake("information.kl_divergence", id="info-base-ignored", seen=NOWHERE, fix="divide by log base")
def divergence_in_nats(p, q, base=math.e):
    """Nats, whatever is asked for."""
    return kl_divergence(p, q)


@mistake(
    "information.js_divergence",
    id="js-jeffreys",
    seen="evansenter/diverge #1",
    fix="compare both with their mixture, not with each other",
)
def without_a_mixture(p, q, base=math.e):
    """(D(p‖q) + D(q‖p))/2, which has no bound."""
    return (kl_divergence(p, q, base) + kl_divergence(q, p, base)) / 2


@mistake("information.js_divergence", id="js-log-mixture", seen="huggingface/trl #2202", fix="mix probabilities")
def mixture_of_logarithms(p, q, base=math.e):
    """The middle is the geometric mean."""
    m = (p * q).sqrt()
    return (kl_divergence(p, m, base) + kl_divergence(q, m, base)) / 2


@mistake(
    "information.js_divergence",
    id="js-from-the-mixture",
    seen="Jeryi-Sun/REDEeP-ICLR #2",
    fix="D(p‖m) and D(q‖m): torch.nn.functional.kl_div(log m, p)",
)
def divergences_of_the_mixture(p, q, base=math.e):
    """(D(m‖p) + D(m‖q))/2, which may exceed log 2."""
    m = (p + q) / 2
    return (kl_divergence(m, p, base) + kl_divergence(m, q, base)) / 2


@mistake("information.js_divergence", id="js-not-halved", seen=NOWHERE, fix="half of each divergence")
def both_in_full(p, q, base=math.e):
    """D(p‖m) + D(q‖m)."""
    return 2 * js_divergence(p, q, base)


@mistake("information.js_divergence", id="js-one-side", seen="drostlab/philentropy #1", fix="both divergences count")
def first_side_only(p, q, base=math.e):
    """D(p‖m)."""
    return kl_divergence(p, (p + q) / 2, base)


@mistake("information.js_divergence", id="js-product-mixture", seen=NOWHERE, fix="the mixture is (p + q)/2")
def distance_from_the_uniform(p, q, base=math.e):
    """The mixture is taken to be uniform."""
    m = torch.full_like(p, 1 / p.shape[-1])
    return (kl_divergence(p, m, base) + kl_divergence(q, m, base)) / 2
