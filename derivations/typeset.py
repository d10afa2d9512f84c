"""How a proof is printed: the same expression objects as LaTeX and as plain text."""

import re

from sympy import latex, sstr


def chain(part):
    """The lines of one part: relation to the line before, LaTeX, plain text and reason."""
    yield {"relation": "", "latex": typeset(part.start), "text": sstr(part.start), "reason": part.form}
    for step in part.steps:
        yield {"relation": step.relation, "latex": typeset(step.expr), "text": sstr(step.expr), "reason": step.reason}


def typeset(e):
    """LaTeX, in which a name of several letters that is no Greek letter stands upright."""
    words = {s for s in e.free_symbols if re.match("(?!lambda)[a-z]{2,}", s.name) and latex(s).startswith(s.name[:2])}
    return latex(e, symbol_names={s: re.sub("^[a-z]+", r"\\operatorname{\g<0>}", latex(s)) for s in words})
