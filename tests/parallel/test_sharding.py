"""What processes tell one another, with the others played by this one; tests/test_processes.py has real ones."""

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from jssl import parallel


@pytest.mark.parametrize("lengths", [(3, 2), (0, 4), (2, 2, 1)])
def test_parts_of_processes_come_together_in_their_order(lengths, monkeypatch):
    whole = np.arange(2 * sum(lengths), dtype=np.int32).reshape(-1, 2)
    parts = np.split(whole, np.cumsum(lengths)[:-1])
    own = parts[1]

    def allgather(x):
        if not x.ndim:
            return np.array([len(part) for part in parts])
        np.testing.assert_array_equal(x[: len(own)], own)
        return np.stack(
            [np.pad(part, [(0, len(x) - len(part)), (0, 0)], constant_values=-9) for part in parts]
        )

    assert parallel.parts_together(own) is own  # of one process
    monkeypatch.setattr(jax, "process_count", lambda: len(lengths))
    monkeypatch.setattr(multihost_utils, "process_allgather", allgather)
    np.testing.assert_array_equal(parallel.parts_together(own), whole)
