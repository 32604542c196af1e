"""What processes tell one another, with the others played by this one; tests/test_processes.py has real ones."""

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from jssl import parallel
from jssl.errors import UserError
from jssl.parallel import distributed


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


class Store:
    """JAX's key-value store."""

    def __init__(self):
        self.values = {}

    def key_value_set(self, key, value):
        self.values[key] = value

    def blocking_key_value_get(self, key, timeout):
        return self.values[key]

    def wait_at_barrier(self, key, timeout):
        pass


def test_processes_that_differ_are_told_in_what(monkeypatch):
    store = Store()
    monkeypatch.setattr(distributed.jax_distributed.global_state, "client", store)

    def asks(process, values):
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        monkeypatch.setattr(jax, "process_index", lambda: process)
        monkeypatch.setattr(distributed, "_asked", iter((7,)))
        distributed.check_equal(values)

    mine = {"--config.optim.lr": 0.1, "--config.order": (), "the version of jax": "1"}
    asks(0, mine)
    asks(1, mine)
    with pytest.raises(
        UserError, match=r"--config.optim.lr differs among .*: 0.1 in process 0, 0.2 in process 1;"
    ):
        asks(1, {**mine, "--config.optim.lr": 0.2})
    with pytest.raises(UserError, match=r"--config.more differs .*: None in process 0, 3 in process 1;"):
        asks(1, {**mine, "--config.more": 3})
