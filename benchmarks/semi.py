"""Semi-supervised methods under one budget: the `tiny` presets on CIFAR-10, beside the supervised baseline.

    TFDS_DATA_DIR=... python benchmarks/semi.py --out=runs/semi4000 --seeds=0,1,2
    TFDS_DATA_DIR=... python benchmarks/semi.py --out=runs/semi250 --seeds=0,1,2 --labels="25 per class"
    python benchmarks/semi.py --out=runs/semi4000 --table

A seed draws the labels, too. Runs that are finished are not repeated; what stands after `--` goes to jssl.main, for all
of them alike. For every run and every stage alike: --labels, --steps, and --data, such as an .npz of the images (which
saves each run some seconds of decoding).
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping

from benchmarks import methods

STAGES = {
    "self_training": ("teacher", "student"),
    "simclr_semi": ("pretrain", "finetune", "distil"),
    "moam": ("step1", "step2", "step3"),
}
QUIET = {"evals.every_percent": "0", "evals.health.enabled": "False", "evals.baselines": "False"}
RUNS: dict[str, tuple[str, list[str]]] = {
    "supervised": ("supervised.py:tiny", []),
    "pseudo_label": ("pseudo_label.py:tiny", []),
    "self_training_all": ("self_training.py:all,tiny", []),
    "self_training_top_k": ("self_training.py:top_k,tiny", []),
    "self_training_weighted": ("self_training.py:weighted,tiny", []),
    "mean_teacher": ("mean_teacher.py:tiny", []),
    "vat": ("s4l.py:vat,tiny", []),
    "vat_entmin": ("s4l.py:vat_entmin,tiny", []),
    "fixmatch": ("fixmatch.py:tiny", []),
    "s4l_rotation": ("s4l.py:rotation,tiny", []),
    "s4l_exemplar": ("s4l.py:exemplar,tiny", []),
    "s4l_simclr": ("s4l.py:simclr,tiny", []),
    "simclr_semi": ("simclr_semi.py:tiny", []),
    "moam": ("moam.py:tiny", []),
}
ROWS = {  # row of the table: run, and the value's name in its result
    "supervised baseline": ("supervised", "classifier/top1"),
    "pseudo-label, online": ("pseudo_label", "classifier/top1"),
    "pseudo-label, offline, all": ("self_training_all", "classifier/top1"),
    "pseudo-label, offline, 1,000 of each class": ("self_training_top_k", "classifier/top1"),
    "pseudo-label, offline, weighted": ("self_training_weighted", "classifier/top1"),
    "Mean Teacher": ("mean_teacher", "classifier/top1"),
    "VAT": ("vat", "classifier/top1"),
    "VAT + EntMin": ("vat_entmin", "classifier/top1"),
    "FixMatch": ("fixmatch", "classifier/top1"),
    "S4L-Rotation": ("s4l_rotation", "classifier/top1"),
    "S4L-Exemplar": ("s4l_exemplar", "classifier/top1"),
    "S4L-SimCLR": ("s4l_simclr", "classifier/top1"),
    "SimCLR + linear": ("simclr_semi", "pretrain/linear/top1"),
    "SimCLR + fine-tuning": ("simclr_semi", "finetune/classifier/top1"),
    "SimCLR + fine-tuning + distilling": ("simclr_semi", "distil/classifier/top1"),
    "MOAM, step 1": ("moam", "step1/classifier/top1"),
    "MOAM, step 2": ("moam", "step2/classifier/top1"),
    "MOAM, step 3": ("moam", "step3/classifier/top1"),
}


def main() -> None:
    own = argparse.ArgumentParser(add_help=False)
    for flag in ("--labels", "--steps", "--data"):
        own.add_argument(flag, default="")
    ours, theirs = own.parse_known_args()
    sys.argv[1:] = theirs
    keys = {"seed": "{seed}", "data.split_seed": "{seed}", **QUIET}
    keys |= {"data.labels": ours.labels} if ours.labels else {}
    keys |= {"data.name": ours.data} if ours.data else {}
    keys |= {"total_steps": ours.steps} if ours.steps else {}
    runs = {name: (config, [*changes, *everywhere(config, keys)]) for name, (config, changes) in RUNS.items()}
    print(table(methods.run_all(runs, __doc__).out))


def everywhere(config: str, keys: Mapping[str, str]) -> list[str]:
    """Flags that give keys to a run, or to every stage of it."""
    stages = STAGES.get(config.partition(".")[0], ())
    places = [f"config.stages.{stage}" for stage in stages] or ["config"]
    return [f"--{place}.{key}={value}" for place in places for key, value in keys.items()]


def table(out: pathlib.Path) -> str:
    """Means over the seeds, each with the difference from the mean to the farthest one, in %."""
    lines = ["| | top-1 | seeds |", "|---|---|---|"]
    for row, (name, key) in ROWS.items():
        paths = sorted(out.glob(f"{methods.folder(out, name, '*').name}/result.json"))
        values = [100 * json.loads(path.read_text())[key] for path in paths]
        if values:
            lines.append(f"| {row} | {methods.cell(key, values)} | {len(values)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
