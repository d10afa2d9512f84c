r"""Byte-pair encoding: what a merge does to a text, what it cannot do, and why a text can be read again.

A merge writes one new symbol for two adjacent ones. What tokens cost is in bpe_costs.py.
Article papers/bpe.md, code reference/bpe.py, laws verify/bpe.py.
"""

from itertools import pairwise, product

from sympy import IndexedBase, S, Sum, Symbol

from derivations.claim import claim
from derivations.forms import below, eq, equal, finite, ge, induct, le

T, n, i, j, r = (Symbol(name, integer=True, positive=True) for name in "Tnijr")
t = Symbol("t", integer=True, nonnegative=True)
h, m, x = (IndexedBase(name, real=True) for name in "hmx")
spare = IndexedBase("g", nonnegative=True)
L, W = IndexedBase("L", real=True), IndexedBase("W", real=True)
start, rest = Symbol("N", real=True), Symbol("e", nonnegative=True)


@claim(
    source="gage1994new (the algorithm); sennrich2016neural, §3.2",
    code="reference.bpe.merge",
    given={start: Sum(m[r], (r, 1, t)) + 1 + rest},
    mistakes={
        "a merged pair takes two symbols away": {"gone": 2},
        "every adjacent occurrence counts: a run of n + 1 has n": {"found": Sum(S.One, (j, 1, n))},
        "an occurrence covers one symbol": {"found": Sum(1 - spare[j], (j, 1, n + 1))},
        "the new symbols are counted as well": {"gone": 0},
    },
)
def merge_shortens_by_its_count(gone=1, found=Sum((1 - spare[j]) / 2, (j, 1, n + 1))):
    """A merge takes as many symbols away as it finds disjoint pairs; in a run of n + 1 equal ones at most (n + 1)/2."""
    return (
        equal(
            Sum(1 + h[i], (i, 1, T)) - T,
            eq(
                gone * Sum(h[i], (i, 1, T)),
                "of T symbols afterwards each stands for one before, or, where h is 1, for the pair: for two",
            ),
        ),
        below(
            found,
            le(
                (n + 1) / S(2),
                "a pair covers two places, and of a run's n + 1 places g are not covered: disjoint pairs are few",
                by=Sum(spare[j], (j, 1, n + 1)) / 2,
            ),
        ),
        induct(
            L,
            t,
            start=start,
            step=L[t] - gone * m[t + 1],
            closed=lambda now: start - Sum(m[r], (r, 1, now)),
            reason="merge after merge: with m pairs found, the text is shorter by m",
        ),
        below(
            Sum(m[r], (r, 1, t)),
            le(start - 1, "a symbol at least is left: all merges together find less than N pairs", by=rest),
        ),
    )


B = Symbol("B", real=True)
left, a, b, right = (Symbol(name, real=True) for name in ("x", "a", "b", "y"))
p, q, z = (Symbol(name, integer=True, nonnegative=True) for name in "pqz")
read, written = Symbol("X", real=True), Symbol("D", real=True)


def joined(first, second):
    """The words of two lengths, read as numbers in base B, one after the other: (number, length)."""
    return first[0] * B ** second[1] + second[0], first[1] + second[1]


def merged(text, pair, new):
    """The text with `new` for every pair, found from the left."""
    out, k = [], 0
    while k < len(text):
        here = text[k : k + 2] == pair
        out.append(new if here else text[k])
        k += 1 + here
    return out


def encoded(text, merges):
    """Merge after merge; pair number k becomes the symbol 2 + k."""
    for new, pair in enumerate(merges, 2):
        text = merged(text, list(pair), new)
    return text


def decoded(tokens, merges):
    """Every token spelled out, down to the symbols 0 and 1."""
    spell = [[0], [1]]
    for first, second in merges:
        spell.append(spell[first] + spell[second])
    return [symbol for token in tokens for symbol in spell[token]]


def number(texts):
    """Texts of zeros and ones as one number in base four: 2 stands before each, so that no others have this number."""
    return S(int("".join("2" + "".join(map(str, text)) for text in texts), 4))


def tables():
    """Every table of two merges over the symbols 0 and 1, and over what the first makes."""
    for first in product(range(2), repeat=2):
        for second in product(range(3), repeat=2):
            if second != first:
                yield [first, second]


@claim(
    source="sennrich2016neural, §3.2; radford2019language, §2.2 (bytes)",
    code="reference.bpe.decode",
    mistakes={
        "the two halves of a token change places": {"spelled": lambda first, second: joined(second, first)},
        "a token is as long as its first half": {"spelled": lambda first, second: (joined(first, second)[0], first[1])},
        "the halves are added up": {"spelled": lambda first, second: (first[0] + second[0], first[1] + second[1])},
        "the last merge is taken for the first": {
            "decode": lambda tokens, merges: decoded([min(token, 2) for token in tokens], merges)
        },
    },
)
def decode_inverts_encode(spelled=joined, decode=decoded):
    """A token stands for what its two halves spell, one after the other, so that no merge changes the text."""
    texts = [list(text) for size in range(6) for text in product(range(2), repeat=size)]
    cases = [
        {read: number(texts), written: number([decode(encoded(text, merges), merges) for text in texts])}
        for merges in tables()
    ]
    before = joined(joined(joined((left, 0), (a, p)), (b, q)), (right, z))
    after = joined(joined((left, 0), spelled((a, p), (b, q))), (right, z))
    return (
        equal(
            before[0],
            eq(
                after[0],
                "text x, tokens a and b of p and q symbols, z more: in base B to set a behind x is x B^p + a",
            ),
        ),
        finite(read, eq(written, "all texts of up to five zeros and ones, all tables of two merges"), cases=cases),
    )


greedy, other = Symbol("g", integer=True), Symbol("o", integer=True)


def most_frequent(text):
    """The pair with the most disjoint occurrences, of equal ones the least."""
    pairs = {*pairwise(text)}
    return max(sorted(pairs), key=lambda pair: len(text) - len(merged(text, list(pair), -1)))


def by_merging(text, merges, choose=most_frequent):
    """How long a text is after some merges, each of the pair that is chosen."""
    for new in range(max(text) + 1, max(text) + 1 + merges):
        text = merged(text, list(choose(text)), new)
    return len(text)


def best_merging(text, merges):
    """The shortest that the text can become by so many merges, all choices tried."""
    if not merges:
        return len(text)
    pairs = {*pairwise(text)}
    return min(best_merging(merged(text, list(pair), max(text) + 1), merges - 1) for pair in pairs)


def fewest_tokens(text, words):
    """The least number of words that make up the text."""
    fewest = [0]
    for end in range(1, len(text) + 1):
        fewest.append(
            1 + min(fewest[end - len(w)] for w in words if tuple(text[:end][-len(w) :]) == w and len(w) <= end)
        )
    return fewest[-1]


def by_rank(text, merges):
    """How many tokens there are after the merges in their order, which is that of their keys."""
    for pair, new in merges.items():
        text = merged(text, list(pair), new)
    return len(text)


RUNS = [0, 0, 0, 0, 1, 0, 0, 0, 1, 0]  # aaaabaaaba
WORD, MERGES = [0, 1, 2, 3], {(0, 1): 4, (1, 2): 5, (5, 3): 6}  # abcd with ab, bc and then bcd
WORDS = [(0,), (1,), (2,), (3,), (0, 1), (1, 2), (1, 2, 3)]


@claim(
    source="zouhar2023formal, abstract (greedy merges only approximate the best)",
    code="reference.bpe.train",
    scope="instances",
    why="a counterexample is one instance, and it settles the matter",
    mistakes={
        "one merge: then the most frequent pair is the best": {"merges": 1},
        "a text where the most frequent pair is also the best": {"text": [0, 1, 0, 1, 2, 0, 1]},
        "the merge of bc comes first": {"ranks": {(1, 2): 5, (5, 3): 6, (0, 1): 4}},
    },
)
def greedy_merges_are_not_optimal(text=RUNS, merges=2, ranks=MERGES):
    """To merge what is most frequent need not shorten most, nor do merges in their order find the fewest tokens."""
    learned = {greedy: S(by_merging(text, merges)), other: S(best_merging(text, merges))}
    applied = {greedy: S(by_rank(WORD, ranks)), other: S(fewest_tokens(WORD, WORDS))}
    return (
        finite(
            greedy,
            ge(other + 1, "aaaabaaaba: aa comes three times, and two merges leave 6; ba and then aa leave 5"),
            cases=[learned],
        ),
        finite(
            greedy,
            ge(other + 1, "abcd with merges ab, bc, bcd in this order: ab c d, where a bcd are two tokens"),
            cases=[applied],
        ),
    )
