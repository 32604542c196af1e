"""Features of six classes that overlap, with labels."""

import numpy as np

CLASSES = 6


def clusters(n, seed, noise=1.1):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(CLASSES, 10))
    labels = rng.integers(0, CLASSES, n)
    return (centres[labels] + noise * rng.normal(size=(n, 10))).astype(np.float32), labels.astype(np.int32)


TRAIN_X, TRAIN_Y = clusters(500, 0)
TEST_X, TEST_Y = clusters(300, 1)
