"""k-means beside faiss and scikit-learn: the same rows, the same first centroids, each in a process of its own.

python benchmarks/k_means.py                                          50,000 rows of 256 numbers, 1,000 clusters
python benchmarks/k_means.py --libraries=jssl --devices=8             on eight devices that share the cores
python benchmarks/k_means.py --libraries=jssl --rows=1000000 --iterations=3 --mapped=rows.npy

A library that is not installed is left out (`pip install faiss-cpu`). Prints a JSON line for every library and
repeat, in turn, and the medians of their ratios to jssl's in the end. 'seconds' are those of all iterations in a
process that has clustered for one iteration before, 'cpu_seconds' the same added up over the cores; 'first_seconds',
those of that one iteration, have the compilation in them. Memory is the peak of the process in MB, looked at every
20 ms, without what its imports take: its own ('anonymous'), and with the pages of mapped files and libraries
('resident'); rows that are not mapped are part of both.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import timing

Cluster: TypeAlias = Callable[[int], np.ndarray]
"""Makes so many iterations and returns the centroids."""
MODULES = {"jssl": "jax", "faiss": "faiss", "sklearn": "sklearn"}


def with_jssl(x: np.ndarray, start: np.ndarray, devices: int) -> Cluster:
    import jax

    from jssl import clustering, parallel

    mesh = parallel.make_mesh(jax.devices()[:devices])
    return lambda n: clustering.k_means(x, len(start), init=start, iterations=n, mesh=mesh).centroids


def with_faiss(x: np.ndarray, start: np.ndarray, devices: int) -> Cluster:
    import faiss

    def cluster(iterations: int) -> np.ndarray:
        found = faiss.Clustering(x.shape[1], len(start))
        found.niter, found.max_points_per_centroid = iterations, len(x)  # no sample, but all rows
        faiss.copy_array_to_vector(start.ravel(), found.centroids)
        found.train(x, faiss.IndexFlatL2(x.shape[1]))
        return faiss.vector_to_array(found.centroids).reshape(start.shape)

    return cluster


def with_sklearn(x: np.ndarray, start: np.ndarray, devices: int) -> Cluster:
    from sklearn.cluster import KMeans

    settings = {"init": start, "n_init": 1, "algorithm": "lloyd", "tol": 0, "copy_x": False}
    return lambda n: KMeans(len(start), max_iter=n, **settings).fit(x).cluster_centers_


WITH = {"jssl": with_jssl, "faiss": with_faiss, "sklearn": with_sklearn}


def rows_of(args: argparse.Namespace) -> np.ndarray:
    """Normal rows, the entries of which vary less and less; written once, block by block, if they are mapped."""
    shape, rng = (args.rows, args.dim), np.random.default_rng(0)
    deviations = np.arange(1, args.dim + 1, dtype=np.float32) ** -0.5
    if args.mapped and pathlib.Path(args.mapped).exists():
        return np.load(args.mapped, mmap_mode="r")
    if args.mapped:
        x: np.ndarray = np.lib.format.open_memmap(args.mapped, "w+", np.float32, shape)
    else:
        x = np.empty(shape, np.float32)
    for first in range(0, args.rows, 10_000):
        part = x[first : first + 10_000]
        part[:] = rng.standard_normal(part.shape, np.float32) * deviations
    return x


def inertia(x: np.ndarray, centroids: np.ndarray) -> float:
    """The sum of squared distances, by NumPy for all libraries alike."""
    total, norms = 0.0, (centroids.astype(np.float64) ** 2).sum(axis=1)
    for first in range(0, len(x), 5_000):
        part = np.asarray(x[first : first + 5_000], np.float32)
        nearest = (norms - 2 * (part @ centroids.T)).min(axis=1)
        total += float((part.astype(np.float64) ** 2).sum() + nearest.sum())
    return total


class PeakMemory:
    """The largest memory of this process while it is open, in MB."""

    def __enter__(self) -> PeakMemory:
        self.anonymous = self.resident = 0.0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ends.wait(0.02):
            now = memory()
            self.anonymous = max(self.anonymous, now["RssAnon"])
            self.resident = max(self.resident, now["VmRSS"])


def memory() -> dict[str, float]:
    """Memory of this process by the kernel's names, in MB."""
    status = pathlib.Path("/proc/self/status").read_text()
    return {name: int(kilobytes) / 1024 for name, kilobytes in re.findall(r"(\w+):\s+(\d+) kB", status)}


def child(args: argparse.Namespace) -> None:
    """Measures one library and prints a line."""
    for name in args.libraries.split(","):
        importlib.import_module(MODULES[name])
    before = memory()
    x = rows_of(args)
    start = np.array(x[np.sort(np.random.default_rng(1).choice(args.rows, args.k, replace=False))])
    with PeakMemory() as peak:
        cluster = WITH[args.libraries](x, start, args.devices)
        first = timing.timed(lambda: cluster(1))
        began, cpu_began = time.perf_counter(), time.process_time()
        centroids = cluster(args.iterations)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    timing.show(
        {
            "what": args.libraries,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "first_seconds": first,
            "inertia": inertia(x, centroids),
            "anonymous": peak.anonymous - before["RssAnon"],
            "resident": peak.resident - before["VmRSS"],
        }
    )


def measured(library: str, args: argparse.Namespace) -> dict[str, float]:
    """The line of a process that measures a library."""
    options = {**vars(args), "libraries": library, "child": True}
    command = [sys.executable, __file__]
    command += [f"--{name}={value}" for name, value in options.items() if not isinstance(value, bool)]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={args.devices}"
    done = subprocess.run(
        [*command, "--child"], env={**os.environ, "XLA_FLAGS": flags}, stdout=-1, check=True
    )
    line = done.stdout.decode().splitlines()[-1]
    print(line, flush=True)
    return json.loads(line)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--libraries", default="jssl,faiss,sklearn")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--k", type=int, default=1_000)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--devices", type=int, default=1, help="of a CPU, for jssl")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--mapped", default="", help="a file .npy that the rows are mapped from; written if missing"
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args)
        return
    names = [name for name in args.libraries.split(",") if importlib.util.find_spec(MODULES[name])]
    repeats = [{name: measured(name, args) for name in names} for _ in range(args.repeats)]
    others = [name for name in names if name != "jssl"] if "jssl" in names else []
    for name in others:
        ratios = {
            f"{what}_ratio": statistics.median(lines[name][what] / lines["jssl"][what] for lines in repeats)
            for what in ("seconds", "cpu_seconds", "inertia")
        }
        timing.show({"what": f"{name} over jssl", "repeats": len(repeats), **ratios})


if __name__ == "__main__":
    main()
