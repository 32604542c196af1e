"""Several arrays of images as one batch."""

import jax.numpy as jnp
import numpy as np

from jssl.methods.batching import deinterleave, interleave


def test_rows_of_different_numbers_are_interleaved_and_come_back():
    arrays = [jnp.arange(n * 3.0).reshape(n, 3) + 100 * n for n in (4, 12, 8)]
    packed = interleave(arrays)
    assert packed.shape == (24, 3)
    for a, b in zip(arrays, deinterleave(packed, [4, 12, 8])):
        np.testing.assert_array_equal(a, b)
    first_quarters = [tuple(np.asarray(a[i])) for a in arrays for i in range(len(a) // 4)]
    assert [tuple(row) for row in np.asarray(packed[:6])] == first_quarters
