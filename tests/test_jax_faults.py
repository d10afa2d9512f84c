"""Where jax 0.10 is silently wrong on our material; the twins go round it."""

import jax
import jax.numpy as jnp
import numpy as np

from verify.compare import GAP, jax64
from verify.twin.softmax import log_sum_exp

jax64()
Z = jnp.array([0.0, 0.0, 1.0], dtype=jnp.float64)


def truth(z):
    """The Hessian of log Σ exp: diag(p) − p pᵀ."""
    p = np.exp(z) / np.exp(z).sum()
    return np.diag(p) - np.outer(p, p)


def test_second_derivative_of_logaddexp_inside_a_scan():
    """At a tie the Hessian is wrong and not even symmetric; the same fold without a scan is right."""

    def scanned(z):
        return jax.lax.scan(lambda total, x: (jnp.logaddexp(total, x), None), z[0], z[1:])[0]

    def folded(z):
        return jnp.logaddexp(jnp.logaddexp(z[0], z[1]), z[2])

    wrong = np.asarray(jax.hessian(scanned)(Z))
    assert abs(wrong - truth(Z)).max() > 0.1 and abs(wrong - wrong.T).max() > 0.1
    assert abs(np.asarray(jax.hessian(folded)(Z)) - truth(Z)).max() < GAP


def test_the_twin_is_right():
    assert abs(np.asarray(jax.hessian(log_sum_exp)(Z)) - truth(Z)).max() < GAP
