"""The shipped sweeps: each file has `get_sweep`, which returns a `jssl.search_space.Sweep`."""
