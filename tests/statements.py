"""Letters, and small claims made for a test: a body with one mistake."""

from sympy import IndexedBase, Symbol

from derivations.claim import claim, run
from derivations.expectation import Law

n, d = (Symbol(name, integer=True, positive=True) for name in "nd")
i, j, k = (Symbol(name, integer=True, positive=True) for name in "ijk")
t = Symbol("t", integer=True, nonnegative=True)
x, y, s = (Symbol(name, real=True) for name in "xys")
p = Symbol("p", positive=True)
a, b, z = (IndexedBase(name, real=True) for name in "abz")
u, c = (IndexedBase(name, positive=True) for name in "uc")
WRONG = {"off by one": {"shift": 1}}


def judged(build, **declaration):
    """The row of a claim whose body is `build(shift)`, with one mistake: a shift by one."""

    def statement(shift=0):
        """A statement."""
        return build(shift)

    return run(claim(**{"source": "none", "mistakes": WRONG} | declaration)(statement))


def verdict(build, **declaration):
    return judged(build, **declaration)["verdict"]


MU, NU = Symbol("mu", real=True), Symbol("nu", real=True)
LAW = Law(a, n, i, MU, NU, 0)
