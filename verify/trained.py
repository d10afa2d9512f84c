r"""Real input: is the table trained on real text the optimum that `counting_is_maximum_likelihood` proves it to be?

The likelihood of the corpus is maximized numerically, over logits by L-BFGS, without counting; the probabilities
found must be the relative frequencies of `reference.markov`.
"""

from __future__ import annotations

import torch

from reference.corpus import embedded
from reference.markov import conditional, count, encode

CONTEXTS = 12
NEAR = 1e-4  # L-BFGS stops where the likelihood is flat in float64: a probability is then right to about √2⁻⁵²·N/c


def most_likely(n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(probabilities, nats a symbol) of the distribution found by L-BFGS to make the counts n most likely."""
    logits = torch.zeros(len(n), dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [logits], 1, 500, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def surprise() -> torch.Tensor:
        solver.zero_grad()
        value = -(n * logits.log_softmax(0)).sum() / n.sum()
        value.backward()
        return value

    solver.step(surprise)
    return logits.detach().softmax(0), surprise().detach()


def trained_table(order: int = 1) -> tuple[float, float, int]:
    """(largest difference in probability, likelihood the optimizer still lacks in nats a symbol, symbols seen)."""
    text, _ = embedded()
    ids, alphabet = encode(text)
    counts = count(ids, order, len(alphabet))
    contexts, where = counts.ngrams[:, :order].unique(dim=0, return_inverse=True)
    totals = torch.zeros(len(contexts), dtype=torch.int64).index_add(0, where, counts.counts)
    worst, lacking, seen = 0.0, 0.0, 0
    for context in contexts[totals.argsort(descending=True)[:CONTEXTS]]:
        rows = (counts.ngrams[:, :order] == context).all(1)
        n = counts.counts[rows].double()
        proved = conditional(counts, context[None])[0, counts.ngrams[rows, order]]
        found, reached = most_likely(n)
        worst = max(worst, (found - proved).abs().max().item())
        lacking = max(lacking, (reached + (n * proved.log()).sum() / n.sum()).item())
        seen += int(n.sum())
    return worst, lacking, seen
