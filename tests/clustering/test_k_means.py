import functools

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from jssl import clustering, metrics
from jssl.clustering.k_means import first_of_largest, in_slices, split_empty

K_MEANS = functools.partial(clustering.k_means, block_rows=64)
RNG = np.random.default_rng(0)
CENTERS = 6 * RNG.normal(size=(5, 8))
TRUTH = RNG.permutation(np.arange(203) % 5)
BLOBS = (CENTERS[TRUTH] + RNG.normal(size=(203, 8))).astype(np.float32)  # 64 does not divide 203
NOISE = RNG.normal(size=(203, 8)).astype(np.float32)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def nearest(x, centroids):
    """Labels and squared distances, in float64."""
    distances = ((x[:, None].astype(np.float64) - centroids[None]) ** 2).sum(axis=2)
    return distances.argmin(axis=1), distances.min(axis=1)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_lloyds_iterations_are_those_of_scikit_learn(steps):
    start = NOISE[:7]
    oracle = KMeans(7, init=start, n_init=1, algorithm="lloyd", tol=0, max_iter=steps).fit(NOISE)
    found = K_MEANS(NOISE, 7, init=start, iterations=steps)
    np.testing.assert_allclose(found.centroids, oracle.cluster_centers_, atol=1e-4)
    np.testing.assert_array_equal(found.labels, oracle.labels_)
    np.testing.assert_allclose(found.inertia, oracle.inertia_, rtol=1e-5)


def test_spherical_iterations_are_those_of_a_loop():
    x, centroids = unit(NOISE.astype(np.float64)), unit(NOISE[:6].astype(np.float64))
    for _ in range(4):
        labels, _ = nearest(x, centroids)
        centroids = unit(np.stack([x[labels == each].sum(axis=0) for each in range(6)]))
    found = K_MEANS(3 * NOISE, 6, init=7 * NOISE[:6], iterations=4, spherical=True)
    np.testing.assert_allclose(found.centroids, centroids, atol=1e-5)
    np.testing.assert_allclose(found.inertia, nearest(x, centroids)[1].sum(), rtol=1e-5)
    np.testing.assert_allclose(found.inertia, (2 - 2 * (x @ centroids.T).max(axis=1)).sum(), rtol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"init": "k-means++"}, {"restarts": 8}, {"init": "k-means++", "spherical": True}]
)
def test_planted_blobs_come_back(settings):
    found = K_MEANS(BLOBS, 5, **settings)
    assert metrics.nmi(found.labels, TRUTH) == pytest.approx(1)
    np.testing.assert_array_equal(np.sort(found.counts), np.sort(np.bincount(TRUTH)))


def test_mini_batches_find_the_blobs():
    lines = []
    found = K_MEANS(BLOBS, 5, init="k-means++", batch_size=50, iterations=15, progress=lines.append)
    assert metrics.nmi(found.labels, TRUTH) == pytest.approx(1)
    means = np.stack([BLOBS[found.labels == each].mean(axis=0) for each in range(5)])
    np.testing.assert_allclose(found.centroids, means, atol=0.3)
    assert len(lines) == 15


def test_one_pass_of_mini_batches_gives_means_of_what_they_assigned():
    """With one cluster the centroid is the mean of all rows after a pass."""
    found = K_MEANS(NOISE, 1, batch_size=30, iterations=7)
    np.testing.assert_allclose(found.centroids[0], NOISE.mean(axis=0), atol=1e-6)


def test_results_fit_together_and_the_last_block_is_partial():
    found = K_MEANS(NOISE, 9, iterations=3)
    labels, distances = nearest(NOISE, found.centroids)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.counts, np.bincount(labels, minlength=9))
    assert found.counts.sum() == 203
    np.testing.assert_allclose(found.inertia, distances.sum(), rtol=1e-5)
    dtypes = [each.dtype for each in found[:3]]
    assert dtypes == [np.float32, np.int32, np.int64]


def test_same_seed_same_result_and_blocks_do_not_matter():
    one, two = (K_MEANS(NOISE, 6, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.centroids, two.centroids)
    assert not np.array_equal(one.centroids, K_MEANS(NOISE, 6, seed=4).centroids)
    other = clustering.k_means(NOISE, 6, seed=3)
    np.testing.assert_allclose(one.centroids, other.centroids, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"init": "k-means++", "spherical": True}, {"batch_size": 60}])
def test_eight_devices_are_one(mesh1, mesh8, settings):
    one, eight = (K_MEANS(NOISE, 6, iterations=6, mesh=mesh, **settings) for mesh in (mesh1, mesh8))
    np.testing.assert_allclose(one.centroids, eight.centroids, atol=1e-5)
    np.testing.assert_array_equal(one.labels, eight.labels)
    np.testing.assert_allclose(one.inertia, eight.inertia, rtol=1e-5)


def test_the_order_of_rows_does_not_matter():
    order = np.random.default_rng(1).permutation(len(BLOBS))
    one = K_MEANS(BLOBS, 5, init=BLOBS[:5])
    other = K_MEANS(BLOBS[order], 5, init=BLOBS[:5])
    np.testing.assert_array_equal(one.labels[order], other.labels)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_memory_mapped_features_of_other_types(tmp_path, dtype):
    np.save(tmp_path / "x.npy", BLOBS.astype(dtype))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    one, other = (K_MEANS(x, 5, init=BLOBS[:5]) for x in (mapped, BLOBS.astype(dtype).astype(np.float32)))
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_allclose(one.centroids, other.centroids, atol=1e-6)


def test_a_centroid_without_rows_gets_some():
    start = np.concatenate([CENTERS[:4], CENTERS[3:4]])  # the second of two equal ones is nobody's nearest
    lines = []
    found = K_MEANS(BLOBS, 5, init=start, iterations=1, progress=lines.append)
    assert np.all(found.counts > 0)
    assert len(lines) == 1
    assert lines[0].startswith("iteration 1 of 1: inertia ")
    assert lines[0].endswith(", 1 empty clusters split")


def test_splitting_shares_a_large_cluster():
    centroids = np.ones((4, 3), np.float32)
    centroids[1] = 2
    sizes = np.array([0, 9, 1, 0])
    assert split_empty(centroids, sizes, np.random.default_rng(0)) == 2
    assert sizes.sum() == 10
    assert np.all(sizes > 0)
    assert sizes[2] == 1  # a cluster of one row is never split
    np.testing.assert_array_equal(centroids[2], 1)
    assert np.all(np.abs(centroids[[0, 1, 3]] / 2 - 1) < 0.003)
    assert len(np.unique(centroids, axis=0)) == 4

    centroids, sizes = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]], np.float32), np.array([0, 5])
    assert split_empty(centroids, sizes, np.random.default_rng(0)) == 1
    away = 2 / 1024
    np.testing.assert_allclose(centroids, [[2 + away, 2 - away, 2 + away], [2 - away, 2 + away, 2 - away]])
    np.testing.assert_array_equal(sizes, [2, 3])


def test_rows_that_cannot_be_split_leave_clusters_empty():
    found = K_MEANS(np.ones((4, 2)), 4)
    assert found.counts.sum() == 4
    assert found.inertia < 1e-4
    assert split_empty(np.ones((2, 2), np.float32), np.array([1, 0]), np.random.default_rng(0)) == 0


def test_it_ends_when_nothing_moves_or_the_inertia_hardly_falls():
    def count(x, init, **settings):
        lines = []
        K_MEANS(x, len(init), init=init, iterations=50, progress=lines.append, **settings)
        return len(lines)

    assert count(BLOBS, CENTERS) == 2  # the second moves nothing
    counts = [count(NOISE, NOISE[:20], tolerance=tolerance) for tolerance in (0.0, 0.02, 0.5)]
    assert counts[0] > counts[1] > counts[2] == 2


def test_restarts_keep_the_smallest_inertia():
    inertias = [K_MEANS(BLOBS, 5, seed=1, restarts=n).inertia for n in (1, 4)]
    assert inertias[1] <= inertias[0]


def test_zeros_have_a_cluster_too():
    found = K_MEANS(np.concatenate([NOISE, np.zeros((1, 8))]), 3, spherical=True)
    assert np.isfinite(found.centroids).all()
    assert found.counts.sum() == 204


@pytest.mark.parametrize("k", [1, 7, 8, 21])
def test_the_first_of_equal_scores_is_taken(k):
    scores = np.random.default_rng(0).integers(-3, 3, (200, k)).astype(np.float32)
    sliced = in_slices(jnp.asarray(scores.T), -np.inf).T
    np.testing.assert_array_equal(first_of_largest(sliced), scores.argmax(axis=1))


def test_sums_of_many_blocks_are_not_rounded():
    """Blocks of one row each: 2^24 and then ones, which float32 sums alone would lose."""
    x = np.ones((300, 1))
    x[0] = 2.0**24
    found = clustering.k_means(x, 1, iterations=1, block_rows=1)
    np.testing.assert_allclose(found.centroids[0, 0], (2.0**24 + 299) / 300, rtol=1e-7)


def bad_rows(value):
    x = NOISE.copy()
    x[150, 3] = value
    return x


@pytest.mark.parametrize(
    ("x", "k", "settings", "words"),
    [
        (NOISE, 0, {}, "k=0 must be from 1 to the number of rows, 203"),
        (NOISE, 204, {}, "k=204"),
        (NOISE[0], 2, {}, r"float\[N, D\] with N >= 1, not \(8,\)"),
        (NOISE[:0], 2, {}, "N >= 1"),
        (bad_rows(np.nan), 2, {}, "finite"),
        (bad_rows(np.inf), 2, {}, "finite"),
        (bad_rows(-np.inf), 2, {"spherical": True}, "finite"),
        (bad_rows(np.nan), 2, {"batch_size": 20, "iterations": 1}, "finite"),
        (bad_rows(np.nan), 2, {"init": "k-means++"}, "finite"),
        (NOISE, 2, {"init": "best"}, "init='best' must be 'random', 'k-means"),
        (NOISE, 2, {"init": NOISE[:3]}, r"init has shape \(3, 8\), and 2 centroids have \(2, 8\)"),
        (NOISE, 2, {"init": bad_rows(np.nan)[149:151]}, "init has centroids that are not finite"),
        (NOISE, 2, {"iterations": 0}, "iterations=0"),
        (NOISE, 2, {"restarts": 0}, "restarts=0"),
        (NOISE, 2, {"seed": -1}, "seed=-1"),
        (NOISE, 2, {"batch_size": -1}, "batch_size=-1"),
        (NOISE, 2, {"batch_size": 8, "tolerance": 0.1}, "with a batch_size it must be 0"),
    ],
)
def test_errors(x, k, settings, words):
    with pytest.raises(ValueError, match=words) as error:
        K_MEANS(x, k, **settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e4])
def test_nearest_is_nearest_however_far_from_zero_all_rows_are(offset):
    rng = np.random.default_rng(0)
    x = (offset + rng.normal(size=(400, 8))).astype(np.float32)
    found = clustering.k_means(x, 10, iterations=3)
    exact = ((x[:, None].astype(np.float64) - found.centroids.astype(np.float64)) ** 2).sum(-1)
    chosen = exact[np.arange(len(x)), found.labels]
    np.testing.assert_allclose(chosen, exact.min(1), rtol=2e-2)
    assert (found.counts > 0).all()
