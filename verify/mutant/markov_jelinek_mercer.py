"""Mistakes in Jelinek–Mercer, and in the search for its weights."""

from __future__ import annotations

import torch

from reference.markov import interpolation_weights, jelinek_mercer
from verify.mistake import mistake
from verify.mutant.markov import NOWHERE, counted


def orders(ids, contexts, vocabulary, weights, step, base=1.0):
    """From the base up, a step for each order whose context is known."""
    order = contexts.shape[-1]
    p = torch.full((len(contexts), vocabulary), base / vocabulary, dtype=torch.float64)
    for k in range(order + 1):
        c = counted(ids, contexts[:, order - k :], vocabulary)
        total = c.sum(-1, keepdim=True)
        p = torch.where(total > 0, step(c / total, weights[k], p), p)
    return p


@mistake("markov.jelinek_mercer", id="jm-weights-swapped", seen=NOWHERE, fix="λ is for the longer context")
def shorter_context_takes_lambda(ids, contexts, vocabulary, weights):
    """1 − λ of the longer context and λ of the shorter."""
    return orders(ids, contexts, vocabulary, weights, lambda f, weight, p: (1 - weight) * f + weight * p)


@mistake("markov.jelinek_mercer", id="jm-unseen-loses", seen=NOWHERE, fix="an unseen context passes everything on")
def unseen_context_keeps_its_weight(ids, contexts, vocabulary, weights):
    """The weight of a context that never occurred is lost."""
    seen = counted(ids, contexts, vocabulary).sum(-1, keepdim=True) > 0
    return torch.where(seen, 1, 1 - weights[-1]) * jelinek_mercer(ids, contexts, vocabulary, weights)


@mistake("markov.jelinek_mercer", id="jm-last-context", seen=NOWHERE, fix="count a context only where a symbol follows")
def last_context_is_known(ids, contexts, vocabulary, weights):
    """A context that ends the text keeps its weight, though nothing followed it there."""
    order, p = contexts.shape[-1], torch.full((len(contexts), vocabulary), 1 / vocabulary, dtype=torch.float64)
    for k in range(order + 1):
        c, end = counted(ids, contexts[:, order - k :], vocabulary), (contexts[:, order - k :] == ids[len(ids) - k :])
        total = c.sum(-1, keepdim=True)
        known = (total > 0) | end.all(-1, keepdim=True)
        p = torch.where(known, weights[k] * c / total.clamp(min=1) + (1 - weights[k]) * p, p)
    return p


@mistake("markov.jelinek_mercer", id="jm-weights-reversed", seen=NOWHERE, fix="weights[k] is for contexts of k symbols")
def weights_from_the_longest(ids, contexts, vocabulary, weights):
    """The first weight is that of the longest contexts."""
    return jelinek_mercer(ids, contexts, vocabulary, weights.flip(0))


@mistake("markov.jelinek_mercer", id="jm-wrong-end", seen=NOWHERE, fix="forget the oldest symbol first")
def newest_symbol_is_forgotten_first(ids, contexts, vocabulary, weights):
    """The shorter context is the longer one without its last symbol."""
    order, p = contexts.shape[-1], torch.full((len(contexts), vocabulary), 1 / vocabulary, dtype=torch.float64)
    for k in range(order + 1):
        c = counted(ids, contexts[:, :k], vocabulary)
        total = c.sum(-1, keepdim=True)
        p = torch.where(total > 0, weights[k] * c / total + (1 - weights[k]) * p, p)
    return p


@mistake("markov.jelinek_mercer", id="jm-not-nested", seen=NOWHERE, fix="scale what is passed on by 1 − λ")
def orders_are_added(ids, contexts, vocabulary, weights):
    """Σ λ f, the weights not summing to one."""
    return orders(ids, contexts, vocabulary, weights, lambda f, weight, p: weight * f + p)


@mistake("markov.jelinek_mercer", id="jm-no-base", seen=NOWHERE, fix="end at 1/V")
def what_is_left_is_lost(ids, contexts, vocabulary, weights):
    """Nothing below single symbols."""
    return orders(ids, contexts, vocabulary, weights, lambda f, weight, p: weight * f + (1 - weight) * p, base=0.0)


@mistake("markov.jelinek_mercer", id="jm-zero-is-padding", seen=NOWHERE, fix="every id of the vocabulary is a symbol")
def zero_is_padding(ids, contexts, vocabulary, weights):
    """Symbol 0 is taken for padding: the others share what it has."""
    table = jelinek_mercer(ids, contexts, vocabulary, weights) * (torch.arange(vocabulary) > 0)
    return table / table.sum(-1, keepdim=True)


@mistake("markov.jelinek_mercer", id="jm-mixes-logarithms", seen="smilli/kneser-ney #6", fix="mix probabilities")
def logarithms_are_mixed(ids, contexts, vocabulary, weights):
    """f^λ p^(1 − λ)."""
    return orders(ids, contexts, vocabulary, weights, lambda f, weight, p: f**weight * p ** (1 - weight))


@mistake("markov.interpolation_weights", id="jm-weights-on-train", seen=NOWHERE, fix="judge what was not counted")
def judged_on_what_was_counted(ids, order, vocabulary, deleted=0.1, steps=50):
    """The counted text is judged: its own longest contexts are always best."""
    rest = ids[: len(ids) - round(len(ids) * deleted)]
    return interpolation_weights(torch.cat([rest, rest]), order, vocabulary, 0.5, steps)


@mistake("markov.interpolation_weights", id="em-deleted-first", seen=NOWHERE, fix="the last part is left out")
def first_part_is_deleted(ids, order, vocabulary, deleted=0.1, steps=50):
    """The beginning of the text is judged by the rest."""
    cut = round(len(ids) * deleted)
    return interpolation_weights(torch.cat([ids[cut:], ids[:cut]]), order, vocabulary, deleted, steps)


@mistake("markov.interpolation_weights", id="em-one-step", seen=NOWHERE, fix="iterate")
def stopped_after_a_step(ids, order, vocabulary, deleted=0.1, steps=50):
    """One step, however many are asked for."""
    return interpolation_weights(ids, order, vocabulary, deleted, min(steps, 1))


def stepped(ids, order, vocabulary, deleted, steps, *, known=True, whole=False, ratio=True):
    """EM as it is, but for what is chosen: whether contexts must be known, who is counted, and what is divided."""
    cut = len(ids) - round(len(ids) * deleted)
    windows, weights = ids[cut:].unfold(0, order + 1, 1), torch.full((order + 1,), 0.5, dtype=torch.float64)
    for _ in range(steps):
        p, levels = [torch.full((len(windows),), 1 / vocabulary, dtype=torch.float64)], []
        for k in range(order + 1):
            c = counted(ids[:cut], windows[:, order - k : order], vocabulary)
            total = c.sum(1)
            f = torch.where(total > 0, c.gather(1, windows[:, order:]).squeeze(1) / total.clamp(min=1), 0)
            levels.append((f, (total > 0) if known else torch.ones_like(total).bool()))
            p.append(torch.where(levels[k][1], weights[k] * f + (1 - weights[k]) * p[-1], p[-1]))
        arriving, better = torch.ones_like(p[0]), weights.clone()
        for k in reversed(range(order + 1)):
            f, seen = levels[k]
            stays = torch.where(seen, arriving * weights[k] * f / (p[k + 1] if ratio else 1), 0)
            among = arriving.numel() if whole else (arriving * seen).sum()
            better[k] = stays.sum() / among if among > 0 else weights[k]
            arriving = arriving - stays
        weights = better
    return weights


@mistake("markov.interpolation_weights", id="em-unseen-counts", seen=NOWHERE, fix="an unseen context takes no part")
def unknown_contexts_vote_against(ids, order, vocabulary, deleted=0.1, steps=50):
    """A context that was never counted is taken for one that was wrong."""
    return stepped(ids, order, vocabulary, deleted, steps, known=False)


@mistake("markov.interpolation_weights", id="em-all-arrive", seen=NOWHERE, fix="divide by the part that arrives")
def everything_arrives_everywhere(ids, order, vocabulary, deleted=0.1, steps=50):
    """Each order's part is divided by all symbols."""
    return stepped(ids, order, vocabulary, deleted, steps, whole=True)


@mistake("markov.interpolation_weights", id="em-not-a-posterior", seen=NOWHERE, fix="divide by the mixture")
def prior_for_posterior(ids, order, vocabulary, deleted=0.1, steps=50):
    """λ f is not divided by the probability of the symbol."""
    return stepped(ids, order, vocabulary, deleted, steps, ratio=False)
