import jax
import numpy as np
import pytest

from jssl import losses, metrics
from jssl.metrics import embedding
from tests.losses.test_contrastive import D, N, embeddings, numeric_gradient

RNG = np.random.default_rng(0)


def orthogonal(n):
    return np.linalg.qr(RNG.normal(size=(n, n)))[0].astype(np.float32)


def distributions(n, k, scale=1.0):
    p = np.exp(scale * RNG.normal(size=(n, k)))
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


def test_relative_std_is_one_on_the_sphere_and_zero_at_a_point():
    rng = np.random.default_rng(0)
    sphere = rng.normal(size=(4000, 64)).astype(np.float32)
    np.testing.assert_allclose(embedding.relative_std(sphere), 1, atol=0.02)
    assert embedding.relative_std(np.ones((100, 64), np.float32)) < 1e-6


def test_participation_ratio_counts_equal_directions():
    rng = np.random.default_rng(0)
    for rank in (1, 3, 8):
        z = rng.normal(size=(5000, rank)) @ np.linalg.qr(rng.normal(size=(16, 16)))[0][:rank]
        np.testing.assert_allclose(embedding.participation_ratio(z.astype(np.float32)), rank, rtol=0.02)
    z = rng.normal(size=(50, 20)).astype(np.float32)
    eigenvalues = np.linalg.eigvalsh(np.cov(z, rowvar=False))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    np.testing.assert_allclose(embedding.participation_ratio(z), expected, rtol=1e-4)
    np.testing.assert_allclose(embedding.participation_ratio(z[:10]), 8.0, atol=2.0)  # N < D


@pytest.mark.parametrize("shape", [(50, 20), (20, 50)])
def test_rank_me_against_the_formula(shape):
    z = (RNG.normal(size=shape) * np.geomspace(1, 1e-3, shape[1]) + 0.5).astype(np.float32)
    gram = z.astype(np.float64) @ z.T.astype(np.float64)  # an independent way to the singular values
    sigma = np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[-min(shape) :], 0))
    p = sigma / sigma.sum() + 1e-7
    want = np.exp(-(p * np.log(p)).sum())
    np.testing.assert_allclose(embedding.rank_me(z), want, rtol=1e-4)
    np.testing.assert_allclose(embedding.rank_me(7 * z[::-1]), want, rtol=1e-4)
    np.testing.assert_allclose(embedding.rank_me(z @ orthogonal(shape[1])), want, rtol=1e-4)


def test_rank_me_of_extremes():
    np.testing.assert_allclose(embedding.rank_me(orthogonal(16)), 16, rtol=1e-4)
    np.testing.assert_allclose(embedding.rank_me(np.repeat(orthogonal(16)[:3], 5, axis=0)), 3, rtol=1e-3)
    np.testing.assert_allclose(embedding.rank_me(np.ones((9, 16), np.float32)), 1, atol=1e-3)
    np.testing.assert_allclose(embedding.rank_me(np.zeros((9, 16), np.float32)), 1, atol=1e-3)


@pytest.mark.parametrize("dim", [6, 60])  # 60 is more than there are rows
def test_lidar_against_its_definition(dim):
    images = RNG.normal(size=(9, dim)) * np.geomspace(1, 0.1, dim)
    z = np.stack([images + RNG.normal(size=images.shape) * 0.05 + 0.4 for _ in range(5)])
    means = z.mean(axis=0)
    within = sum(np.outer(row, row) for row in (z - means).reshape(-1, dim)) / 45 + 1e-4 * np.eye(dim)
    between = sum(np.outer(row, row) for row in means - means.mean(axis=0)) / 9
    values, vectors = np.linalg.eigh(within)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ between @ root).clip(0)
    p = eigenvalues / eigenvalues.sum() + 1e-8
    found = embedding.lidar(z.astype(np.float32))
    np.testing.assert_allclose(found, np.exp(-(p * np.log(p)).sum()), rtol=1e-3)
    np.testing.assert_allclose(embedding.lidar(z[::-1, ::-1].astype(np.float32)), found, rtol=1e-3)


def test_lidar_counts_directions_that_tell_images_and_not_views():
    images = np.concatenate([np.eye(4), -np.eye(4)]).astype(np.float32)
    assert float(embedding.lidar(np.stack([images, images]))) == pytest.approx(4, rel=1e-3)
    assert float(embedding.lidar(np.ones((2, 8, 4), np.float32))) == pytest.approx(1, abs=1e-3)
    noise = np.zeros((3, 8, 5), np.float32)
    noise[..., 4] = 100 * RNG.normal(size=(3, 8))  # the largest variance, within images alone
    wide = np.pad(np.stack([images] * 3), ((0, 0), (0, 0), (0, 1)))
    assert float(embedding.lidar(wide + noise)) == pytest.approx(4, rel=0.02)
    for shape in ((1, 8, 4), (2, 1, 4), (8, 4)):
        with pytest.raises(ValueError, match=r"^lidar takes float\[q, N, D\]"):
            embedding.lidar(np.ones(shape))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_alpha_req_is_the_exponent_of_a_power_law(alpha):
    scale = np.arange(1, 101) ** (-alpha / 2)
    z = np.concatenate([np.diag(scale), -np.diag(scale)]) @ orthogonal(100) * 7 + 3
    assert float(embedding.alpha_req(z.astype(np.float32))) == pytest.approx(alpha, rel=1e-3)
    bent = np.where(np.arange(1, 101) < 11, 5.0, scale)  # what lies outside of the range does not count
    z = np.concatenate([np.diag(bent), -np.diag(bent)])
    assert float(embedding.alpha_req(z.astype(np.float32))) == pytest.approx(alpha, rel=1e-3)
    few = np.arange(1, 7) ** (-alpha / 2)
    z = np.concatenate([np.diag(few), -np.diag(few)]).astype(np.float32)
    assert float(embedding.alpha_req(z)) == pytest.approx(alpha, rel=1e-3)


def test_alpha_req_of_extremes():
    assert float(embedding.alpha_req(np.ones((9, 16), np.float32))) == 0
    assert float(embedding.alpha_req(np.outer(np.arange(9.0), np.ones(16)).astype(np.float32))) == 0
    white = np.concatenate([np.eye(40), -np.eye(40)]).astype(np.float32)
    assert float(embedding.alpha_req(white)) == pytest.approx(0, abs=1e-4)


def test_mean_cosine_against_all_pairs():
    z = (RNG.normal(size=(30, 8)) + 0.3).astype(np.float32)
    unit = z.astype(np.float64) / np.linalg.norm(z.astype(np.float64), axis=1, keepdims=True)
    want = np.mean([a @ b for i, a in enumerate(unit) for j, b in enumerate(unit) if i != j])
    np.testing.assert_allclose(embedding.mean_cosine(z), want, atol=1e-6)
    scaled = z * RNG.uniform(0.1, 10, size=(30, 1)).astype(np.float32)
    np.testing.assert_allclose(embedding.mean_cosine(scaled @ orthogonal(8)), want, atol=1e-6)
    np.testing.assert_allclose(embedding.mean_cosine(np.ones((30, 8), np.float32)), 1, atol=1e-5)
    np.testing.assert_allclose(embedding.mean_cosine(orthogonal(8)), 0, atol=1e-6)
    np.testing.assert_allclose(embedding.mean_cosine(np.array([[1.0, 2.0], [-2.0, -4.0]])), -1, atol=1e-6)
    with pytest.raises(ValueError, match="at least 2 rows, not 1"):
        embedding.mean_cosine(z[:1])


def test_mean_norm():
    z = RNG.normal(size=(30, 8)).astype(np.float32)
    np.testing.assert_allclose(embedding.mean_norm(z), np.sqrt((z**2).sum(1)).mean(), rtol=1e-6)
    np.testing.assert_allclose(embedding.mean_norm(-3 * z), 3 * embedding.mean_norm(z), rtol=1e-6)


def test_information_against_the_joint_distribution():
    """Mutual information is what the table p(row) p(class | row) has over the product of its margins."""
    p = distributions(12, 5, scale=2.0)
    joint = p.astype(np.float64) / 12
    product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    want = (joint * np.log(joint / product)).sum()
    np.testing.assert_allclose(embedding.mutual_information(p), want, atol=1e-6)
    mean = p.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(embedding.kl_from_uniform(p), (mean * np.log(5 * mean)).sum(), atol=1e-6)
    np.testing.assert_allclose(embedding.entropy(p), -(p * np.log(p)).sum(axis=1).mean(), atol=1e-6)
    shuffled = p[RNG.permutation(12)][:, RNG.permutation(5)]
    for function in (embedding.entropy, embedding.kl_from_uniform, embedding.mutual_information):
        np.testing.assert_allclose(function(shuffled), function(p), atol=1e-6)
    parts = embedding.entropy(p) + embedding.kl_from_uniform(p) + embedding.mutual_information(p)
    np.testing.assert_allclose(parts, np.log(5), rtol=1e-6)


@pytest.mark.parametrize(
    ("p", "entropy", "kl", "information"),
    [
        (np.eye(4)[[0] * 8], 0.0, np.log(4), 0.0),  # collapsed onto one
        (np.full((8, 4), 0.25), np.log(4), 0.0, 0.0),  # collapsed to uniform
        (np.eye(4)[[0, 1, 2, 3] * 2], 0.0, 0.0, np.log(4)),  # certain and balanced
        (np.repeat(distributions(1, 4), 8, axis=0), None, None, 0.0),  # any other constant
    ],
    ids=["one prototype", "uniform", "healthy", "constant"],
)
def test_information_of_extremes(p, entropy, kl, information):
    p = p.astype(np.float32)
    np.testing.assert_allclose(embedding.mutual_information(p), information, atol=1e-6)
    if entropy is not None:
        np.testing.assert_allclose(embedding.entropy(p), entropy, atol=1e-6)
        np.testing.assert_allclose(embedding.kl_from_uniform(p), kl, atol=1e-6)


def unit(z):
    z = z.astype(np.float64)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def align_loss(x, y):
    return np.mean(np.linalg.norm(unit(x) - unit(y), axis=1) ** 2)


def uniform_loss(x, t):
    """log of the mean of exp(-t pdist(x)^2): every pair once."""
    x = unit(x)
    pdist = np.asarray([np.linalg.norm(x[i] - x[j]) for i in range(len(x)) for j in range(i)])
    return np.log(np.mean(np.exp(-t * pdist**2)))


def test_alignment_and_uniformity_are_wang_and_isolas():
    z1, z2 = embeddings()
    value, gradients = jax.jit(jax.value_and_grad(metrics.alignment, (0, 1)))(z1, z2)
    np.testing.assert_allclose(value, align_loss(z1, z2), rtol=1e-5)
    np.testing.assert_allclose(
        gradients[0], numeric_gradient(lambda z: align_loss(z, z2), z1), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        gradients[1], numeric_gradient(lambda z: align_loss(z1, z), z2), rtol=1e-4, atol=1e-6
    )
    for t in (2.0, 0.5):
        value, gradient = jax.jit(jax.value_and_grad(metrics.uniformity), static_argnums=1)(z1, t)
        np.testing.assert_allclose(value, uniform_loss(z1, t), rtol=1e-5)
        numeric = numeric_gradient(lambda z, t=t: uniform_loss(z, t), z1)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-6)


def test_ends_of_the_scales():
    z1, _ = embeddings()
    same, eye = np.ones((N, D), np.float32), np.eye(N, dtype=np.float32)
    poles = np.asarray([[1, 0], [-1, 0]], np.float32)
    align, uniform, nt_xent = (jax.jit(f) for f in (metrics.alignment, metrics.uniformity, losses.nt_xent))
    np.testing.assert_allclose([align(z1, 3 * z1), uniform(same)], 0, atol=2e-6)
    np.testing.assert_allclose([align(z1, -z1), uniform(poles)], [4, -8], rtol=1e-5)
    n = 2 * N - 1  # the bound is tight for views that agree and nothing else does, 0 where all agree
    bounds = [metrics.mutual_information_bound(nt_xent(z, z), n) for z in (eye, same)]
    np.testing.assert_allclose(bounds, [np.log(n) - np.log1p((n - 1) * np.exp(-10)), 0], atol=1e-5)
