"""Every method under one budget: the `small` presets on CIFAR-10, one run a method and seed, as a Markdown table.

    TFDS_DATA_DIR=... python benchmarks/methods.py --out=runs/methods --seeds=0,1
    python benchmarks/methods.py --out=runs/methods --table

Runs that are finished are not repeated; what stands after `--` goes to jssl.main, for all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
MEMORY_FILE = "memory.json"
V1 = ["--config.method.version=1", "--config.method.temperature=0.1"]
RUNS = {  # row of the table: config, and what differs from its preset
    "SimCLR": ("simclr.py:small", []),
    "MoCo v1 queue": ("moco.py:small", V1),
    "MoCo v1 memory bank": ("moco.py:small", [*V1, "--config.method.mechanism=memory_bank"]),
    "MoCo v1 end to end": ("moco.py:small", [*V1, "--config.method.mechanism=end_to_end"]),
    "MoCo v2": ("moco.py:small", []),
    "MoCo v3": ("mocov3.py:small", []),
    "InstDisc": ("instdisc.py:small", []),
    "NNCLR": ("nnclr.py:small", []),
    "BYOL": ("byol.py:small", []),
    "SimSiam": ("simsiam.py:small", []),
    "DINO": ("dino.py:small", []),
    "SwAV": ("swav.py:small", []),
    "Barlow Twins": ("barlow_twins.py:small", []),
    "VICReg": ("vicreg.py:small", []),
    "RotNet": ("rotation.py:small", []),
    "Jigsaw": ("jigsaw.py:small", []),
    "Context prediction": ("context.py:small", []),
    "DeepCluster": ("deepcluster.py:small", []),
    "DeeperCluster": ("deepercluster.py:small", []),
    "SeLa": ("sela.py:small", []),
    "DeepCluster v2": ("deepcluster_v2.py:small", []),
    "Autoencoder": ("autoencoder.py:small", []),
    "Denoising autoencoder": ("autoencoder.py:small", ["--config.method.corruption=masking"]),
    "Sparse autoencoder": ("autoencoder.py:small", ["--config.method.sparsity=top_k"]),
    "Inpainting": ("inpainting.py:small", []),
    "MAE": ("mae.py:small", []),
    "SimMIM": ("simmim.py:small", []),
    "Colorization": ("colorization.py:small", []),
    "Split-brain": ("split_brain.py:small", []),
    "Future prediction": ("future.py:small", []),
}
COLUMNS = {
    "kNN": ("knn/top1", 100),
    "linear": ("linear/top1", 100),
    "effective rank": ("health/features/rank_me", 1),
    "std": ("health/features/std", 1),
    "images/s, best": ("images_per_second", 1),
    "memory, GB": (MEMORY_FILE, 1),
}


SHORT = ["--config.seed={seed}", "--config.evals.every_percent=0", "--config.evals.baselines=False"]


def main() -> None:
    runs = {name: (config, [*changes, *SHORT]) for name, (config, changes) in RUNS.items()}
    arguments = run_all(runs, __doc__)
    print(table(arguments.out))


def run_all(runs: Mapping[str, tuple[str, list[str]]], doc: str | None) -> argparse.Namespace:
    """Runs what the command line asks for, seed by seed, and returns what was asked for."""
    arguments, more = parsed(runs, doc)
    for seed in arguments.seeds.split(","):
        for name in arguments.methods.split(",") if arguments.methods else runs:
            if not arguments.table:
                run(name, runs[name], int(seed), arguments.out, more)
    return arguments


def parsed(
    runs: Mapping[str, tuple[str, list[str]]], doc: str | None
) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a folder for all runs")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--methods", default="", help=f"some of: {', '.join(runs)}")
    parser.add_argument("--table", action="store_true", help="only print what is finished")
    own = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    more = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    return parser.parse_args(own), more


def folder(out: pathlib.Path, name: str, seed: int | str) -> pathlib.Path:
    return out / f"{name.lower().replace(' ', '_')}-{seed}"


def run(name: str, what: tuple[str, list[str]], seed: int, out: pathlib.Path, more: list[str]) -> None:
    """Trains and evaluates a config with changes in a process of its own, and notes the most memory that it held."""
    config, changes = what
    workdir = folder(out, name, seed)
    if (workdir / "result.json").exists():
        return
    command = [sys.executable, "-m", "jssl.main", f"--config=configs/{config}"]
    command += [*(change.format(seed=seed) for change in changes), f"--workdir={workdir}", *more]
    process = subprocess.Popen(command, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{name}, seed {seed}: the run failed")
    (workdir / MEMORY_FILE).write_text(json.dumps(usage.ru_maxrss / 1e6))


def table(out: pathlib.Path) -> str:
    """Means over the seeds, with the difference from the mean to the farthest one."""
    lines = ["| method | " + " | ".join(COLUMNS) + " | seeds |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name in RUNS:
        results = []
        for path in sorted(out.glob(f"{folder(out, name, '*').name}/result.json")):
            memory = path.parent / MEMORY_FILE
            if memory.exists():  # otherwise another process is about to write it
                results.append({**json.loads(path.read_text()), MEMORY_FILE: json.loads(memory.read_text())})
        if results:
            cells = [cell(key, [scale * r[key] for r in results]) for key, scale in COLUMNS.values()]
            lines.append(f"| {name} | " + " | ".join(cells) + f" | {len(results)} |")
    return "\n".join(lines)


def cell(key: str, values: list[float]) -> str:
    """A mean and its spread; of speeds the best, because other work on the machine can only slow a run down."""
    if key == "images_per_second":
        return f"{max(values):,.0f}"
    mean = float(np.mean(values))
    digits = 0 if mean >= 100 else 1 if mean >= 10 else 2
    spread = float(np.max(np.abs(np.array(values) - mean)))
    return f"{mean:,.{digits}f} ± {spread:,.{digits}f}"


if __name__ == "__main__":
    main()
