"""Terms that ask for the same prediction twice."""

import jax
import jax.numpy as jnp

from jssl.methods import Context
from tests.methods.semisupervised.terms import KEY, begun, made
from tests.methods.test_contract import close


def test_a_teacher_is_an_average_that_forgets_where_it_began():
    method = made("consistency")
    params, state = begun(method)
    moved = jax.tree.map(lambda p: p + 1, params)
    first = Context(KEY, jnp.zeros((), jnp.int32), jnp.zeros(()))
    teacher = method.after_update(moved, state, first)["terms"]["mean_teacher"]["target"]
    close(teacher, {name: moved[name] for name in ("encoder", "classifier")}, 1e-6)
