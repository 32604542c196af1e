import numpy as np

from jssl.evaluation import diagnostics


def test_relative_std_is_one_on_the_sphere_and_zero_at_a_point():
    rng = np.random.default_rng(0)
    sphere = rng.normal(size=(4000, 64)).astype(np.float32)
    np.testing.assert_allclose(diagnostics.relative_std(sphere), 1, atol=0.02)
    assert diagnostics.relative_std(np.ones((100, 64), np.float32)) < 1e-6


def test_participation_ratio_counts_equal_directions():
    rng = np.random.default_rng(0)
    for rank in (1, 3, 8):
        z = rng.normal(size=(5000, rank)) @ np.linalg.qr(rng.normal(size=(16, 16)))[0][:rank]
        np.testing.assert_allclose(diagnostics.participation_ratio(z.astype(np.float32)), rank, rtol=0.02)
    z = rng.normal(size=(50, 20)).astype(np.float32)
    eigenvalues = np.linalg.eigvalsh(np.cov(z, rowvar=False))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    np.testing.assert_allclose(diagnostics.participation_ratio(z), expected, rtol=1e-4)
    np.testing.assert_allclose(diagnostics.participation_ratio(z[:10]), 8.0, atol=2.0)  # N < D
