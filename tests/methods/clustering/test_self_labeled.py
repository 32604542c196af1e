"""DeepCluster, DeeperCluster, SeLa and DeepCluster v2: the labels that they give, and the losses that learn them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import clustering, metrics
from jssl.errors import UserError
from jssl.evaluation.extract import Features
from jssl.methods.clustering import deepcluster, labels
from jssl.methods.clustering.deepcluster import DeepCluster, DeeperCluster
from jssl.methods.clustering.deepcluster_v2 import DeepClusterV2
from jssl.methods.clustering.sela import SeLa
from tests.methods.reference import ENCODER, context, forward, listed, loss_of, moved, start, vectors

EXAMPLES = 60
KEY = jax.random.key(3)
NARROW = {"num_examples": EXAMPLES, "proj_hidden_dim": 12, "proj_dim": 6}
DEEP = DeepCluster(ENCODER, **NARROW, clusters=5, pca_dim=4)
DEEPER = DeeperCluster(ENCODER, **NARROW, clusters=3, super_clusters=2, pca_dim=4)
SELA = SeLa(ENCODER, num_examples=EXAMPLES, clusters=4, num_heads=3)
V2 = DeepClusterV2(ENCODER, **NARROW, clusters=5, num_heads=3, local_views=("local",))


@dataclasses.dataclass
class Extracted:
    """Features of all images but the last three, which cannot be read."""

    method: object
    views: int = 1
    seen: int = EXAMPLES - 3

    labels = np.arange(EXAMPLES) % 3

    def features(self, x):
        return Features(np.asarray(x)[: self.seen], self.labels[: self.seen], np.arange(self.seen))

    def batch(self):
        return {
            "unlabeled": {
                **vectors(self.views, EXAMPLES, seed=5)["unlabeled"],
                "index": jnp.arange(EXAMPLES),
            }
        }

    def __call__(self, params, state, output="features"):
        images = listed(self.batch())[0]
        return self.features(self.method.outputs(params, state, images)[output])

    def training(self, params, state, function, key):
        return self.features(function(params, state, self.batch(), key))


def refreshed(method, views=1):
    """Parameters and state after the first refresh, what it was, and parameters before."""
    params, state = start(method, vectors(views))
    params = moved(params)
    found = method.refresh(params, state, Extracted(method, views), KEY)
    state = jax.tree.map(jnp.asarray, found.state)
    return jax.tree.map(jnp.asarray, found.params), state, found, params


def log_softmax(x):
    x = np.asarray(x, np.float64)
    return x - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)) - x.max(-1, keepdims=True)


def test_weights_of_clusters_are_what_drawing_from_each_alike_is_in_expectation():
    """The official sampler: floor(N / clusters) + 1 images of every cluster that is not empty, then N of all."""
    rng, own = np.random.default_rng(0), np.repeat([0, 1, 2, 4], [40, 5, 13, 2])
    values = rng.normal(size=len(own))  # a loss of every image
    weights = labels.cluster_weights(own, 5)
    assert weights[3] == 0
    np.testing.assert_allclose(np.mean(weights[own]), 1, rtol=1e-6)
    drawn = []
    for _ in range(3000):
        many = len(own) // 4 + 1
        rows = [
            rng.choice(np.flatnonzero(own == c), many, replace=np.sum(own == c) <= many) for c in (0, 1, 2, 4)
        ]
        drawn.append(values[rng.permutation(np.concatenate(rows))[: len(own)]].mean())
    expected, error = np.mean(drawn), np.std(drawn) / np.sqrt(len(drawn))
    assert abs(np.mean(weights[own] * values) - expected) < 5 * error


def test_what_is_logged_of_labels():
    before, after = np.array([0, 0, 1, 1, -1, -1]), np.array([0, 0, 1, 0, 2, -1])
    found = labels.assignment_metrics(before, after, np.array([1, 1, 2, 1, -1, -1]), 4)
    p = np.array([3, 1, 1]) / 5
    np.testing.assert_allclose(found["clusters/entropy"], -np.sum(p * np.log(p)) / np.log(4), rtol=1e-6)
    assert found["clusters/empty"] == 1
    assert found["clusters/largest_fraction"] == 0.6
    assert found["clusters/nmi_previous"] == metrics.nmi(before, after)
    assert found["clusters/nmi_classes"] == 1
    assert "clusters/nmi_previous" not in labels.assignment_metrics(np.full(6, -1), after, after, 4)


def test_deepcluster_gives_the_clusters_of_whitened_features_before_the_last_relu():
    params, state, found, before = refreshed(DEEP)
    images = listed(Extracted(DEEP).batch())[0]
    h, _ = forward(DEEP, before, state["stats"], images, False)
    z = np.asarray(h["projector"])[: EXAMPLES - 3]
    assert (z < 0).any()
    white = clustering.pca_whitening(z, 4)(z)
    np.testing.assert_allclose(np.linalg.norm(white, axis=1), 1, rtol=1e-5)
    own = clustering.k_means(white, 5, seed=labels.seed_of(KEY), iterations=20).labels
    np.testing.assert_array_equal(state["assignments"][: EXAMPLES - 3, 0], own)
    assert (np.asarray(state["assignments"])[EXAMPLES - 3 :] == -1).all()
    np.testing.assert_array_equal(state["weights"], labels.cluster_weights(own, 5))
    assert found.reset == ("clusters",)
    kernel = np.asarray(params["clusters"]["dense"]["kernel"])
    assert np.std(kernel) < 0.02 < np.std(before["clusters"]["dense"]["kernel"])
    jax.tree.map(np.testing.assert_array_equal, params["projector"], before["projector"])


@pytest.mark.parametrize("balanced", [True, False])
def test_the_loss_of_deepcluster_is_a_weighted_cross_entropy(balanced):
    method = dataclasses.replace(DEEP, balanced=balanced)
    params, state, *_ = refreshed(method)
    rows = vectors(1)
    value, output = loss_of(method, params, state, rows, context())
    h, _ = forward(method, {n: params[n] for n in ("encoder", "projector")}, state["stats"], listed(rows)[0])
    dense = params["clusters"]["dense"]
    log_p = log_softmax(np.maximum(np.asarray(h["projector"]), 0) @ np.asarray(dense["kernel"]))
    own = np.asarray(state["assignments"])[np.asarray(rows["unlabeled"]["index"]), 0]
    weight = np.asarray(state["weights"])[own] if balanced else 1.0
    expected = np.mean(-log_p[np.arange(len(own)), own] * weight)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert 0 <= output.metrics["clusters/top1"] <= 1


def test_an_image_without_a_label_counts_for_nothing():
    for method, views in ((DEEP, 1), (SELA, 1), (V2, 4)):
        params, state, *_ = refreshed(method, views)
        rows = vectors(views)
        rows["unlabeled"]["index"] = jnp.full(8, EXAMPLES - 1)
        assert float(loss_of(method, params, state, rows, context())[0]) == 0, type(method).__name__


def test_images_are_turned_as_numpy_turns_them():
    images, turns = np.random.default_rng(0).normal(size=(8, 5, 5, 2)), np.arange(8) % 4
    found = deepcluster.turned(jnp.asarray(images), jnp.asarray(turns))
    for image, quarters, turned in zip(images, turns, found):
        np.testing.assert_allclose(turned, np.rot90(image, quarters), rtol=1e-6)


def test_deepercluster_learns_super_classes_and_the_clusters_within_the_own_one(monkeypatch):
    monkeypatch.setattr(
        deepcluster, "turned", lambda images, turns: images
    )  # of vectors there is nothing to turn
    params, state, found, _ = refreshed(DEEPER)
    coarse, fine = np.asarray(state["assignments"])[: EXAMPLES - 3].T
    assert set(coarse) == {0, 1}
    assert set(fine) == {0, 1, 2}
    assert found.reset == ("super", "sub")
    rows = vectors(1)
    _, output = DEEPER.loss(params, state, rows, context())
    np.testing.assert_allclose(output.metrics["clusters/super_loss"], np.log(8), rtol=0.02)  # begins there
    params = moved(params)
    value, output = DEEPER.loss(params, state, rows, context())
    h, _ = forward(DEEPER, {n: params[n] for n in ("encoder", "projector")}, state["stats"], listed(rows)[0])
    z, index = np.maximum(np.asarray(h["projector"]), 0), np.asarray(rows["unlabeled"]["index"])
    of_super, of_sub = (
        z @ np.asarray(params[name]["dense"]["kernel"]) + np.asarray(params[name]["dense"]["bias"])
        for name in ("super", "sub")
    )
    possible = []
    for turn in range(4):  # which turn an image has is random
        own = 4 * coarse[index] + turn
        within = of_sub.reshape(8, 8, 3)[np.arange(8), own]
        terms = log_softmax(of_super)[np.arange(8), own] + log_softmax(within)[np.arange(8), fine[index]]
        possible.append(-terms)
    possible = np.stack(possible)
    assert possible.min(0).mean() <= value <= possible.max(0).mean()


def test_labels_of_sela_divide_the_images_equally_and_heads_take_turns():
    _, state = start(SELA, vectors(1))
    counts = [np.bincount(column, minlength=4) for column in np.asarray(state["assignments"])[:EXAMPLES].T]
    assert all((count == EXAMPLES // 4).all() for count in counts)  # random at first, and equal
    _, state, found, before = refreshed(SELA)
    own = np.asarray(state["assignments"])
    for head in range(3):
        assert np.ptp(np.bincount(own[: EXAMPLES - 3, head], minlength=4)) <= 4
    assert (own[EXAMPLES - 3 :] == -1).all()
    assert not np.array_equal(own[:, 0], own[:, 1])
    assert found.metrics["clusters/objective"] > 0
    one = dataclasses.replace(SELA, heads_per_refresh=1)
    first = one.refresh(before, start(one, vectors(1))[1], Extracted(one), KEY)
    second = one.refresh(before, first.state, Extracted(one), KEY)
    at = [np.asarray(state["assignments"])[: EXAMPLES - 3] for state in (first.state, second.state)]
    assert np.array_equal(at[0][:, [0, 2]], at[1][:, [0, 2]])
    assert not np.array_equal(at[0][:, 1], at[1][:, 1])
    np.testing.assert_array_equal(at[0][:, 0], own[: EXAMPLES - 3, 0])


def test_without_equal_sizes_the_labels_of_sela_are_the_likeliest_ones():
    free = dataclasses.replace(SELA, equal_sizes=False)
    _, state, _, params = refreshed(free)
    h, _ = forward(free, {"encoder": params["encoder"]}, state["stats"], listed(Extracted(free).batch())[0])
    dense = params["clusters"]["dense"]
    scores = np.asarray(h["encoder"]) @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
    expected = scores.reshape(EXAMPLES, 3, 4).argmax(-1)[: EXAMPLES - 3]
    np.testing.assert_array_equal(np.asarray(state["assignments"])[: EXAMPLES - 3], expected)
    assert free.collapse_causes() == ("method.equal_sizes=False: one class takes all images",)


def test_the_loss_of_sela_is_the_mean_over_heads():
    params, state, *_ = refreshed(SELA)
    rows = vectors(1)
    value, _ = loss_of(SELA, params, state, rows, context())
    h, _ = forward(SELA, params, state["stats"], listed(rows)[0])
    log_p = log_softmax(np.asarray(h["clusters"]).reshape(8, 3, 4))
    own = np.asarray(state["assignments"])[np.asarray(rows["unlabeled"]["index"])]
    each = -np.take_along_axis(log_p, own[..., None], -1)
    np.testing.assert_allclose(value, each.mean(), rtol=1e-5)


def test_the_bank_of_deepcluster_v2_is_filled_clustered_and_follows_the_embeddings():
    params, state, _, before = refreshed(V2, views=4)
    bank, own = np.asarray(state["bank"]), np.asarray(state["assignments"])
    np.testing.assert_allclose(np.linalg.norm(bank[: EXAMPLES - 3], axis=-1), 1, rtol=1e-5)
    assert not bank[EXAMPLES - 3 :].any()
    centroids = np.asarray(state["centroids"])
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=-1), 1, rtol=1e-5)
    for head in range(3):  # crops fill the heads in turn
        nearest = (bank[: EXAMPLES - 3, head % 2] @ centroids[head].T).argmax(-1)
        np.testing.assert_array_equal(own[: EXAMPLES - 3, head], nearest)
    assert "centroids" not in before
    rows = vectors(4)
    index = np.asarray(rows["unlabeled"]["index"])
    value, output = loss_of(V2, params, state, rows, context())
    # Statistics are those of all crops: the oracle takes the method's own embeddings.
    found, _ = V2.forward_multicrop(params, state["stats"], listed(rows), None)
    z = np.stack([np.asarray(each["projector"]) for each in found], 1)
    z = z / np.linalg.norm(z, axis=-1, keepdims=True)
    log_p = log_softmax(np.einsum("bcd,hkd->bchk", z, centroids) / 0.1)
    each = -np.take_along_axis(log_p, own[index][:, None, :, None], -1)
    np.testing.assert_allclose(value, each.mean(), rtol=1e-4)
    after = np.asarray(output.state["bank"])
    np.testing.assert_allclose(after[index], z[:, :2], rtol=1e-4, atol=1e-5)
    others = np.setdiff1d(np.arange(len(bank)), index)
    np.testing.assert_array_equal(after[others], bank[others])


@pytest.mark.parametrize("method", [DEEP, DEEPER, SELA, V2], ids=lambda method: type(method).__name__)
def test_more_clusters_than_images_are_a_line_before_training(method):
    many = dataclasses.replace(method, clusters=EXAMPLES + 1)
    with pytest.raises(UserError, match=f"clusters are more than the {EXAMPLES} images: set less"):
        many.check(vectors(4 if method is V2 else 1))


def test_labels_that_are_never_given_are_a_line_before_training():
    for method, views in ((DEEP, 1), (DEEPER, 1), (SELA, 1), (V2, 4)):
        with pytest.raises(
            UserError, match=r"method\.reassign_every='': without labels there is nothing to learn"
        ):
            dataclasses.replace(method, reassign_every="").check(vectors(views))


def test_fewer_readable_images_than_clusters_are_fewer_clusters():
    many = dataclasses.replace(DEEP, clusters=EXAMPLES)
    params, state = start(many, vectors(1))
    found = many.refresh(params, state, Extracted(many), KEY)
    assert np.asarray(found.state["assignments"]).max() < EXAMPLES - 3
