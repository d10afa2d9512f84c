r"""A claim: one decorated function. Its docstring is the statement, its body the proof, its defaults the truth.

    @claim(source="bib key, place", code="reference.topic.function", given={symbol: value},
           for_all={index: size}, sums={Sum(...): value}, mistakes={"name": {"parameter": wrong}})
    def conclusion_of_hypotheses(parameter=right):
        '''One sentence.'''
        return equal(start, eq(next, "reason"), …)

`run` demands: every step proved symbolically and consistent numerically; every mistake refuted by a witness; every
hypothesis (a given value, a domain, independence) such that without it the statement breaks at a witness.
"""

import inspect
import time
from dataclasses import dataclass, field
from types import FunctionType

from sympy import Derivative, Interval, S, oo, sstr
from sympy.tensor.indexed import IndexedBase

from derivations.engines import DRAWS, POINTS, Vacuous, has, refute, resists
from derivations.forms import Part, Within
from derivations.normal import refuse_bound
from derivations.points import domain_of
from derivations.topics import topic_of
from derivations.typeset import chain

SCOPES = ("all_sizes", "enclosed", "instances", "cited")


@dataclass(frozen=True)
class Claim:
    body: FunctionType
    source: str
    mistakes: dict
    code: str = ""
    computes: str = ""
    given: dict = field(default_factory=dict)
    for_all: dict = field(default_factory=dict)
    sums: dict = field(default_factory=dict)
    domains: dict = field(default_factory=dict)
    scope: str = "all_sizes"
    why: str = ""
    sizes: dict = field(default_factory=dict)

    @property
    def id(self):
        return f"{topic_of(self.module)}.{self.body.__name__}"

    @property
    def module(self):
        """The stem of the file that it stands in."""
        return self.body.__module__.rpartition(".")[2]

    @property
    def statement(self):
        return " ".join((inspect.getdoc(self.body) or "").split())

    def parts(self, **overrides):
        result = self.body(**overrides)
        return (result,) if isinstance(result, Part) else tuple(result)


def claim(**declaration):
    """Declare the decorated function a claim; see the module's docstring for the fields."""

    def decorate(body):
        return Claim(body=body, **declaration)

    return decorate


def run(c: Claim, points: int = POINTS):
    """Prove and try to refute one claim; returns its row of the ledger (DESIGN's JSON, plus the chain and reasons).

    The statement is tested at so many points; every mistake and every hypothesis at as many as it takes.
    """
    started = time.perf_counter()
    row = {
        "id": c.id,
        "statement": c.statement,
        "source": c.source,
        "form": "",
        "given": [],
        "scope": c.scope,
        "why": c.why,
        "verdict": "undecided",
        "message": "",
        "engines": {},
        "steps": [],
        "mistakes": [],
        "needed": [],
        "code": c.code,
        "computes": c.computes,
    }
    try:
        parts = c.parts()
        row["form"] = " + ".join(dict.fromkeys(part.form for part in parts))
        row["steps"] = [line for part in parts for line in chain(part)]
        _reject_empty(c, parts)
        row["given"] = [*(f"{sstr(total)} = {sstr(value)}" for total, value in c.sums.items()), *hypotheses(c, parts)]
        witness, tested = refute(c, parts, points)
        row["engines"]["numeric"] = f"refuted at {witness}" if witness else f"consistent at {tested} points"
        if witness:
            row["verdict"], row["message"] = "refuted", witness
        else:
            resisting = resists(c, parts)
            row["engines"]["symbolic"] = f"undecided: {resisting}" if resisting else "proved"
            if resisting:
                row["message"] = resisting
            else:
                row["mistakes"], row["needed"] = _mistakes(c, parts), _needed(c, parts)
                row["verdict"] = "holds"
    except Exception as error:  # whatever an author's expressions raise, the other claims must still be judged
        row["verdict"], row["message"] = "rejected", f"{type(error).__name__.lower()}: {error}"
    row["seconds"] = round(time.perf_counter() - started, 3)
    return row


def hypotheses(c, parts):
    """Name of each hypothesis → how to drop it: a key of `given`, a symbol whose domain widens, or independence."""
    found = {f"{sstr(k)} = {sstr(v)}": ("given", k) for k, v in c.given.items()}
    for s in sorted(_reals(c, parts) - set(c.given), key=str):
        domain = domain_of(s, c.domains)
        if domain != S.Reals:
            found[_domain_text(s, domain)] = ("domain", s)
    if any(len(part.laws) > 1 for part in parts):
        found["independence"] = ("independence", None)
    return found


def _reals(c, parts):
    """The real symbols and tables of the statements."""
    exprs = [e for part in parts for lhs, _, rhs in part.statements for e in (lhs, rhs)] + [*c.sums.values()]
    names = {s for e in exprs for s in e.free_symbols | {base.label for base in e.atoms(IndexedBase)}}
    return {s for s in names if s.is_Symbol and not s.is_integer}


def _domain_text(s, domain):
    if domain == S.Reals - {0}:
        return f"{s} ≠ 0"
    if domain.sup == oo and domain.inf == 0:
        return f"{s} > 0" if domain.left_open else f"{s} ≥ 0"
    low, high = ("<" if domain.left_open else "≤"), ("<" if domain.right_open else "≤")
    return f"{domain.inf} {low} {s}" + (f" {high} {domain.sup}" if domain.sup != oo else "")


def _reject_empty(c, parts):
    if not c.statement:
        raise Vacuous("it has no docstring, so no statement")
    if c.scope not in SCOPES or (c.scope != "all_sizes" and not c.why):
        raise Vacuous(f"scope {c.scope!r}: expected all_sizes, or one of {SCOPES[1:]} with why= in a sentence")
    if not c.mistakes:
        raise Vacuous("no mistake is declared, so nothing shows that the check can fail")
    for e in _everything(c, parts):
        for derivative in e.atoms(Derivative):
            refuse_bound(derivative)
    for symbol, domain in c.domains.items():
        if domain.is_empty:
            raise Vacuous(f"the domain of {symbol} is empty")
    for goal in (goal for part in parts for goal in part.goals if isinstance(goal.by, Within)):
        within, domain = goal.by, domain_of(goal.by.variable, c.domains)
        if (goal.lhs - goal.rhs).has(within.variable) and not domain.is_subset(Interval(within.low, within.high)):
            raise Vacuous(f"the enclosure is from {within.low} to {within.high}, but {within.variable} is in {domain}")
    for part in parts:
        previous = part.start
        for number, step in enumerate(part.steps, 1):
            if step.expr == previous:
                raise Vacuous(
                    f"step {number} repeats the expression before it ({sstr(previous)[:60]}): "
                    "nothing is shown; keep Sum, Integral and Derivative unevaluated"
                )
            previous = step.expr
        symbols = set().union(*(e.free_symbols for lhs, _, rhs in part.statements for e in (lhs, rhs)))
        if not symbols and part.form != "finite":
            raise Vacuous("both ends are numbers before any hypothesis is used")
    used = {k for k in c.given if any(has(e, k) for e in _everything(c, parts))}
    for k in c.given:
        if k not in used:
            raise Vacuous(f"the hypothesis {sstr(k)} = {sstr(c.given[k])} is not used")


def _everything(c, parts):
    for part in parts:
        for goal in part.goals:
            yield from (goal.lhs, goal.rhs)
        for law in part.laws:
            yield from (S(law.mean), S(law.var), S(law.cov))
    for total, value in c.sums.items():
        yield from (total, S(value))


def _mistakes(c, truth):
    """Every mistake with its witness; one that changes nothing, or is not refuted, rejects the claim."""
    rows = []
    for name, overrides in c.mistakes.items():
        unknown = set(overrides) - set(inspect.signature(c.body).parameters)
        if unknown:
            raise Vacuous(f"the mistake {name!r} sets {sorted(unknown)}, which the claim does not have")
        wrong = c.parts(**overrides)
        if wrong == truth:
            raise Vacuous(f"the mistake {name!r} changes nothing")
        witness, tested = refute(c, wrong, DRAWS)
        if witness is None:
            raise Vacuous(f"the mistake {name!r} is not refuted at {tested} points: it changes nothing that is claimed")
        rows.append({"name": name, "verdict": "refuted", "witness": witness})
    return rows


def _needed(c, parts):
    """Every hypothesis with the witness found when it alone is dropped; an unneeded one rejects the claim."""
    rows = []
    for name, dropped in hypotheses(c, parts).items():
        try:
            witness, tested = refute(c, parts, DRAWS, dropped)
        except Vacuous:
            witness, tested = None, 0
        if witness is None:
            raise Vacuous(f"the hypothesis {name} is not needed: the claim stands at {tested} points without it")
        rows.append({"name": name, "witness": witness})
    return rows
