"""What the tests of the methods share: a quick network, and the losses once more, in NumPy and double precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl import models, rng
from jssl.methods import Context

# Methods do not look at their images, and of vectors a network compiles in no time.
ENCODER = models.mlp((12,), last_batch_norm=True)
ROWS, WIDTH = 8, 10


NAMES = {
    1: {"first": 1},
    2: {"first": 1, "second": 1},
    3: {"first": 1, "second": 2},
    4: {"global": 2, "local": 2},
}


def named(views):
    """One to four arrays as the views of a stream: two crops of which two are local ones, if there are four."""
    left = iter(views)
    return {name: tuple(next(left) for _ in range(copies)) for name, copies in NAMES[len(views)].items()}


def listed(batch):
    """The views of a batch, copies one after the other."""
    return [view for copies in batch["unlabeled"]["views"].values() for view in copies]


def vectors(views=2, rows=ROWS, seed=0, width=WIDTH):
    """A batch of views float[rows, width], of images 3, 5, 7, ... of the data set."""
    draw = np.random.default_rng(seed).normal
    found = [jnp.asarray(draw(size=(rows, width)), jnp.float32) for _ in range(views)]
    index = 3 + 2 * jnp.arange(rows, dtype=jnp.int32)
    return {"unlabeled": {"views": named(found), "index": index, "label": index % 3}}


def context(progress=0.0, seed=1, step=0):
    return Context(jax.random.key(seed), jnp.int32(step), jnp.float32(progress), steps_per_epoch=10.0)


def moved(tree, seed=7, by=0.3):
    """Other parameters of the same shapes, so that a target is not the online network."""
    leaves, structure = jax.tree.flatten(tree)
    draw = np.random.default_rng(seed).normal
    return structure.unflatten([x + by * jnp.asarray(draw(size=x.shape), x.dtype) for x in leaves])


def start(method, batch):
    """Fresh parameters and state."""
    return jax.jit(method.init)(jax.random.key(0), batch)


@functools.partial(jax.jit, static_argnums=0)
def loss_of(method, params, state, batch, ctx):
    return method.loss(params, state, batch, ctx)


@functools.partial(jax.jit, static_argnums=0)
def value_and_grad_of(method, params, state, batch, ctx):
    """(value, output), gradient."""
    return jax.value_and_grad(method.loss, has_aux=True)(params, state, batch, ctx)


@functools.partial(jax.jit, static_argnums=(0, 4))
def forward(method, params, stats, x, train=True):
    """Network after network, those of which there are parameters: all outputs, and the new statistics."""
    outputs, stats = {}, dict(stats)
    for name in [name for name in method.networks if name in params]:
        x, stats[name] = method.networks[name].apply(params[name], stats[name], x, train=train)
        outputs[name] = x
    return outputs, stats


def one_by_one(method, params, stats, views):
    """Each view in a forward pass of its own, in training."""
    outputs = []
    for view in views:
        found, stats = forward(method, params, stats, view)
        outputs.append(found)
    return outputs, stats


def same(a, b, rtol=1e-4, atol=1e-5):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b)):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol, err_msg=jax.tree_util.keystr(path))


def differ(a, b, by=1e-3):
    """Whether some number in two trees does."""
    return any(
        np.abs(np.asarray(x) - np.asarray(y)).max() > by for x, y in zip(*map(jax.tree.leaves, (a, b)))
    )


def unit(z):
    z = np.asarray(z, np.float64)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def cross_entropy(logits, targets):
    """Mean over rows; targets are distributions, or the index of the right column."""
    logits = np.asarray(logits, np.float64)
    if np.ndim(targets) == 1:
        targets = np.eye(logits.shape[1])[targets]
    return -np.mean(np.sum(np.asarray(targets) * np.log(softmax(logits)), axis=1))


def picking(q, k, temperature):
    """Cross entropy of every row of q picking the row of k with its own number."""
    return cross_entropy(unit(q) @ unit(k).T / temperature, np.arange(len(q)))


def cosine(a, b):
    return np.mean(np.sum(unit(a) * unit(b), axis=1))


def trained(method, optimizer, steps, noise=1.0, rows=32, seed=0):
    """The last metrics of a run on a few random vectors, each seen through independent noise of that size."""
    images = jax.random.normal(rng.derive(jax.random.key(seed), "images"), (rows, 64))

    def batch(key):
        views = images + noise * jax.random.normal(key, (2, *images.shape))
        return {"unlabeled": {"views": named(list(views)), "label": jnp.zeros(rows, jnp.int32)}}

    @jax.jit
    def step(params, state, opt_state, i):
        ctx = Context(rng.derive(jax.random.key(seed), "step", i), i, i / steps)
        (value, output), grads = jax.value_and_grad(method.loss, has_aux=True)(
            params, state, batch(ctx.key), ctx
        )
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        return params, method.after_update(params, output.state, ctx), opt_state, (value, output.metrics)

    params, state = start(method, batch(jax.random.key(0)))
    opt_state = optimizer.init(params)
    for i in range(steps):
        params, state, opt_state, (value, metrics) = step(params, state, opt_state, jnp.int32(i))
    assert np.isfinite(value)
    return {name: float(metric) for name, metric in metrics.items()}
