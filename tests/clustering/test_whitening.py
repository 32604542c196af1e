import numpy as np
import pytest

from jssl import clustering
from jssl.clustering import blocks

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(301, 6)) @ RNG.normal(size=(6, 6)) + 50 * RNG.normal(size=6)).astype(np.float32)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 6 * 40)


def test_covariance_becomes_the_identity():
    whitening = clustering.pca_whitening(X, 4, normalize=False)
    white = whitening(X)
    assert white.shape == (301, 4)
    assert white.dtype == np.float32
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(4), atol=1e-3)


def test_axes_are_those_of_a_singular_value_decomposition():
    centered = X.astype(np.float64) - X.astype(np.float64).mean(axis=0)
    _, s, axes = np.linalg.svd(centered, full_matrices=False)
    components = clustering.pca_whitening(X, 6).components
    expected = axes.T / (s / np.sqrt(301))
    np.testing.assert_allclose(np.abs(components), np.abs(expected), rtol=2e-3, atol=1e-4)
    largest = np.abs(components).argmax(axis=0)
    assert np.all(components[largest, np.arange(6)] > 0)


def test_rows_have_length_one():
    np.testing.assert_allclose(np.linalg.norm(clustering.pca_whitening(X, 3)(X), axis=1), 1, rtol=1e-5)


def test_a_dead_feature_stays_finite_and_small():
    x = np.concatenate([X, np.full((301, 2), 7.0, np.float32)], axis=1)
    white = clustering.pca_whitening(x, 8, normalize=False)(x)
    assert np.isfinite(white).all()
    assert np.all(np.abs(white[:, -2:]) < 1e-2)
    assert np.isfinite(clustering.pca_whitening(x, 8)(x)).all()


def test_eight_devices_are_one_and_memory_maps_are_arrays(tmp_path, mesh1, mesh8):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    one = clustering.pca_whitening(X, 5, mesh=mesh1)
    eight = clustering.pca_whitening(mapped, 5, mesh=mesh8)
    np.testing.assert_allclose(one.components, eight.components, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(one(X, mesh=mesh1), one(mapped, mesh=mesh8), atol=1e-5)


def bad_rows(value):
    x = X.copy()
    x[7, 2] = value
    return x


@pytest.mark.parametrize(
    ("x", "dim", "settings", "words"),
    [
        (X, 7, {}, "dim=7 must be from 1 to the length of a row, 6"),
        (X, 0, {}, "dim=0"),
        (X[:1], 2, {}, "N >= 2"),
        (X[0], 2, {}, "N >= 2"),
        (bad_rows(np.nan), 2, {}, "finite"),
        (bad_rows(np.inf), 2, {}, "finite"),
        (np.ones((4, 3)), 2, {}, "all rows of x are equal"),
        (X, 2, {"floor": 0.0}, "floor=0.0 must be positive"),
    ],
)
def test_errors(x, dim, settings, words):
    with pytest.raises(ValueError, match=words) as error:
        clustering.pca_whitening(x, dim, **settings)
    assert "\n" not in str(error.value)


def test_other_features_are_refused():
    with pytest.raises(ValueError, match=r"float\[N, 6\], not \(4, 5\)"):
        clustering.pca_whitening(X, 2)(X[:4, :5])
