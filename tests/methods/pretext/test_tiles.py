"""Jigsaw puzzles and context prediction: their losses, their answers, and the shortcuts that gaps and grey stop."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import models
from jssl.data.augment import tiles
from jssl.errors import UserError
from jssl.methods import Context
from jssl.methods.pretext import jigsaw
from jssl.methods.pretext.context import NEIGHBOURS, ContextPrediction
from jssl.methods.pretext.jigsaw import Jigsaw
from tests.methods.reference import start
from tests.methods.test_contract import ENCODER

KEY = jax.random.key(0)
encode = jax.jit(functools.partial(ENCODER.apply, train=True))


def rows_of(images):
    images = jnp.asarray(images, jnp.float32)
    return {"unlabeled": {"views": {"weak": (images,)}, "index": jnp.arange(len(images), dtype=jnp.int32)}}


def noise(side, rows=32, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, side, side, 3))


def context_of(step=0):
    return Context(jax.random.fold_in(KEY, step), jnp.asarray(step, jnp.int32), jnp.zeros(()))


def test_permutations_are_those_of_the_greedy_rule():
    """Against all sums of distances anew, every time."""
    found = jigsaw.permutation_set(4, 8)
    assert found.shape == (8, 4)
    everyone = np.array(list(itertools.permutations(range(4))))
    for count in range(1, 8):
        sums = (everyone[:, None] != found[:count]).sum((1, 2))
        chosen = (everyone[:, None] == found[:count]).all(2).any(1)
        assert (found[count] != found[:count]).sum() == sums[~chosen].max()
    assert len(np.unique(jigsaw.permutation_set(4, 24), axis=0)) == 24
    assert (jigsaw.permutation_set(4, 8, seed=1) != found).any()
    distances = jigsaw.hamming_distances(jigsaw.permutation_set(9, 100))
    assert distances.mean() > 8
    with pytest.raises(ValueError, match="no 25 permutations of 4 tiles"):
        jigsaw.permutation_set(4, 25)


def test_the_jigsaw_loss_is_that_of_the_permuted_tiles():
    method = Jigsaw(ENCODER, grid=2, tile=3, jitter=0, permutations=5, proj_hidden_dim=8)
    rows, context = rows_of(noise(8)), context_of()
    params, state = start(method, rows)
    value, output = jax.jit(method.loss)(params, state, rows, context)
    images = np.asarray(rows["unlabeled"]["views"]["weak"][0])
    cells = [images[:, a : a + 3, b : b + 3] for a, b in ((0, 0), (0, 4), (4, 0), (4, 4))]
    cells = [(x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True) for x in cells]
    stats = state["stats"]["encoder"]
    h, _ = encode(params["encoder"], stats, jnp.asarray(np.concatenate(cells)))
    h = np.asarray(h).reshape(4, len(images), -1).transpose(1, 0, 2)
    table = jigsaw.permutation_set(4, 5)
    head = jax.jit(lambda h: method.head.apply(params["head"], {}, h, train=True)[0])
    logits = np.stack([np.asarray(head(h[:, order].reshape(len(h), -1))) for order in table])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    each = -log_p[np.arange(5), :, np.arange(5)]  # [answer, image]: the loss if this were its permutation
    assert each.min(0).mean() <= value <= each.max(0).mean()
    many = dataclasses.replace(method, draws=64)  # the mean over draws is that over the set
    assert abs(jax.jit(many.loss)(params, state, rows, context)[0] - each.mean()) < 0.02
    assert 0 <= output.metrics["top1"] <= 1


def test_the_context_loss_is_that_of_eight_directions_both_ways():
    method = ContextPrediction(ENCODER, tile=2, jitter=0, colour="", standardize=False, proj_hidden_dim=8)
    rows = rows_of(noise(6, 8))
    params, state = start(method, rows)
    value, _ = jax.jit(method.loss)(params, state, rows, context_of())
    images = np.asarray(rows["unlabeled"]["views"]["weak"][0])
    cells = [images[:, 2 * a : 2 * a + 2, 2 * b : 2 * b + 2] for a in range(3) for b in range(3)]
    h, _ = encode(params["encoder"], state["stats"]["encoder"], np.concatenate(cells))
    h = np.asarray(h).reshape(9, 8, -1)
    head, losses = jax.jit(lambda h: method.head.apply(params["head"], {}, h, train=True)[0]), []
    for label, cell in enumerate(NEIGHBOURS):
        row, column = cell // 3 - 1, cell % 3 - 1
        mirrored = NEIGHBOURS.index(4 - 3 * row - column)  # where the centre is, seen from there
        for pair, answer in (((4, cell), label), ((cell, 4), mirrored)):
            x = np.concatenate([h[pair[0]], h[pair[1]]], -1)
            logits = np.asarray(head(x), np.float64)
            losses.append(np.log(np.exp(logits).sum(-1)) - logits[:, answer])
    np.testing.assert_allclose(value, np.mean(losses), rtol=1e-4)


def learned(method, images, steps):
    """Accuracy on images that were not trained on, after some steps of Adam."""
    params, state = start(method, rows_of(images[:8]))
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(params, state, opt_state, number, images):
        context = context_of(number)
        grads, output = jax.grad(method.loss, has_aux=True)(params, state, rows_of(images), context)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), output.state, opt_state, output.metrics["top1"]

    rng, opt_state = np.random.default_rng(0), jax.jit(optimizer.init)(params)
    train, test = images[:-256], jnp.asarray(images[-256:])
    for number in range(steps):
        batch = train[rng.choice(len(train), 128, replace=False)]
        params, state, opt_state, _ = step(params, state, opt_state, jnp.asarray(number), jnp.asarray(batch))
    return float(step(params, state, opt_state, jnp.asarray(steps), test)[3])


def blurred(side, rows, seed=0):
    """Noise in which a pixel is much like the next one, and like none that is four away."""
    field = np.random.default_rng(seed).normal(size=(rows, side, side))
    for axis in (1, 2):
        field = (np.roll(field, 1, axis) + 2 * field + np.roll(field, -1, axis)) / 4
    return np.repeat(field[..., None], 3, -1).astype(np.float32)


def shifted_colours(side, rows, seed=0):
    """Random waves under a lens that magnifies red more than green more than blue: a radial shift of colours."""
    rng = np.random.default_rng(seed)
    waves, phases = rng.normal(size=(rows, 12, 2)), rng.uniform(0, 2 * np.pi, size=(rows, 12))
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    channels = []
    for scale in (0.8, 1.0, 1.25):
        inner = waves[:, :, 0, None, None] * y + waves[:, :, 1, None, None] * x
        channels.append(np.sin(scale * inner + phases[:, :, None, None]).sum(1))
    return np.stack(channels, -1).astype(np.float32)


def test_dropping_colours_stops_a_net_from_telling_where_a_patch_was():
    """A net that sees one patch regresses its place from the shift of its colours, and not without them."""
    images = jnp.asarray(shifted_colours(24, 1024))
    net = models.convnet(width=8, strides=(1, 2))
    head = models.linear(9, kernel_init="normal")
    cells = np.random.default_rng(1).integers(0, 9, len(images))

    def accuracy(colour):
        keys = jax.random.split(KEY, len(images))
        cut = jax.jit(lambda keys, images: tiles.cut(keys, images, tiles.Tiles(3, 8, colour=colour)))(
            keys, images
        )
        patches = cut.reshape(len(images), 9, *cut.shape[1:])[np.arange(len(images)), cells]
        params, stats = net.init(KEY, patches[:2])
        own = {"net": params, "head": head.init(KEY, jnp.zeros((2, 16)))[0]}
        optimizer = optax.adam(1e-2)
        opt_state = jax.jit(optimizer.init)(own)
        answer = jnp.asarray(cells)

        @jax.jit
        def step(own, opt_state, x, y):
            def loss(own):
                h, _ = net.apply(own["net"], stats, x, train=True)
                logits, _ = head.apply(own["head"], {}, h, train=True)
                return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), logits

            grads, logits = jax.grad(loss, has_aux=True)(own)
            updates, opt_state = optimizer.update(grads, opt_state)
            return optax.apply_updates(own, updates), opt_state, jnp.mean(jnp.argmax(logits, -1) == y)

        for epoch in range(6):
            for rows in np.random.default_rng(epoch).permutation(768).reshape(-1, 128):
                own, opt_state, _ = step(own, opt_state, patches[rows], answer[rows])
        return float(step(own, opt_state, patches[768:], answer[768:])[2])

    assert accuracy("") > 0.3  # chance is 1 in 9
    assert accuracy("drop") < 0.2


def test_touching_tiles_solve_the_puzzle_by_their_edges_and_gaps_stop_it():
    net = models.convnet(width=8, strides=(1, 2, 2))
    touching = Jigsaw(net, grid=2, tile=4, jitter=0, permutations=2, draws=2, proj_hidden_dim=64)
    images = blurred(8, 4096), blurred(16, 4096)
    easy = learned(touching, images[0], 60)
    hard = learned(dataclasses.replace(touching, jitter=1), images[1], 60)
    assert easy > 0.75, easy
    assert hard < 0.6, hard  # chance is 1 in 2


def test_what_cannot_be_is_said_before_training():
    with pytest.raises(UserError, match="permutations=25: of 2x2 tiles there are 24"):
        Jigsaw(ENCODER, grid=2, permutations=25)
    with pytest.raises(UserError, match="grid=4 must be 2 or 3"):
        Jigsaw(ENCODER, grid=4)
    with pytest.raises(
        UserError, match=r"tiles of 9 pixels, shifted by up to 1, do not fit into cells of 10"
    ):
        Jigsaw(ENCODER, tile=9, jitter=1).check(rows_of(noise(32)))
    with pytest.raises(UserError, match="eight neighbours"):
        ContextPrediction(ENCODER, grid=2)


def test_some_tiles_are_shrunk_and_enlarged_and_flat_ones_stay_flat():
    keys = jax.random.split(jax.random.key(0), 60)
    flat = jnp.ones((60, 24, 24, 3))
    found = jax.vmap(lambda key, image: tiles.coarser(key, image, 1.0))(keys, flat)
    np.testing.assert_allclose(found, flat, atol=1e-5)
    sharp = jnp.asarray(np.random.default_rng(0).normal(size=(60, 24, 24, 3)), jnp.float32)
    found = np.asarray(jax.vmap(lambda key, image: tiles.coarser(key, image, 0.5))(keys, sharp))
    same = np.abs(found - sharp).max((1, 2, 3)) < 1e-5
    assert 15 < same.sum() < 45
    detail = np.abs(np.diff(found, axis=1)).mean((1, 2, 3))
    assert detail[~same].max() < 0.9 * detail[same].min()  # what is left is smoother
    ramp = jnp.broadcast_to(jnp.arange(24.0)[:, None, None], (24, 24, 3))
    found = np.asarray(jax.vmap(lambda key: tiles.coarser(key, ramp, 1.0))(keys))
    assert np.abs(found - ramp)[:, 3:-3].max() < 0.6  # and lies where it was


def test_a_flat_tile_has_a_gradient():
    grad = jax.grad(lambda image: jnp.sum(tiles.standardize(image) * image))(jnp.ones((4, 4, 1)))
    assert np.isfinite(grad).all()
