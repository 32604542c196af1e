"""python -m jssl.plan --config=configs/simclr.py:imagenet --topology=v5e:4x4,v5e:8x8

What a run needs, before it is rented.
"""

from __future__ import annotations

import json

from absl import flags
from ml_collections import config_flags

from jssl import cli
from jssl.errors import UserError

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A shipped config or a file, with a preset after a colon."
)
TOPOLOGY = flags.DEFINE_list("topology", [], "TPU slices, generation and shape in chips: v5e:4x4,v4:2x2x4.")
PLATFORM = flags.DEFINE_enum("platform", "tpu", ["tpu", "cpu"], "What to compile for.")
DEVICES = flags.DEFINE_integer("devices", 8, "With --platform=cpu: how many devices to pretend.")
CHIP = flags.DEFINE_string(
    "chip", None, "With --platform=cpu: whose memory and speed to reckon with, 'TPU v4', say."
)
OUT = flags.DEFINE_string("out", None, "A JSON file for the plans.")

PRICE = flags.DEFINE_float(
    "price", 0.0, "Of a chip for an hour, as your contract says; adds the price of the run."
)

MODEL = """\
A model, not a measurement: memory as the compiler lays it out. Time from where matrix units, memory and links
work all at once and at the speed of their data sheets, to where they work one after the other and at half of it.
Loading data is not in it: each host must decode as many images as it says. Evaluations are passes of the encoder."""


def main(_: list[str]) -> None:
    """Compiles for every topology and prints the table."""
    from concurrent.futures.process import BrokenProcessPool

    import jax
    from etils import epath

    from jssl import config as schema
    from jssl import parallel, storage
    from jssl.errors import unknown
    from jssl.parallel import chips
    from jssl.train import planner, progress
    from jssl.train.program import make_program

    jax.config.update("jax_platforms", "cpu")  # nothing here touches an accelerator that may be there
    jax.config.update("jax_num_cpu_devices", max(1, DEVICES.value))

    if PLATFORM.value == "tpu" and not TOPOLOGY.value:
        raise UserError("--topology=v5e:4x4 is missing (or plan for a CPU: --platform=cpu --devices=8)")
    if PLATFORM.value == "cpu" and TOPOLOGY.value:
        raise UserError("--topology names TPU slices: leave it out with --platform=cpu")
    if PLATFORM.value == "tpu" and CHIP.value:
        raise UserError("--chip is for --platform=cpu: a topology names its chip")
    if DEVICES.value < 1:
        raise UserError(f"--devices={DEVICES.value} must be at least 1")
    if not 0 <= PRICE.value < float("inf"):
        raise UserError(f"--price={PRICE.value} must be a number, 0 or more")
    out = epath.Path(OUT.value) if OUT.value else None
    if out is not None and not out.parent.is_dir():
        raise UserError(f"--out={out}: there is no folder {out.parent}")
    if CHIP.value is not None and CHIP.value not in chips.CHIPS:
        raise unknown("--chip", CHIP.value, chips.CHIPS)
    config = CONFIG.value
    schema.validate(config)
    if config.order:
        raise UserError(
            f"{config.name} has stages: plan the config of one of them ({', '.join(config.order)})"
        )
    info = planner.data_info(config)
    plans: list[planner.Plan] = []
    crashed: list[str] = []

    def add(plan: planner.Plan) -> None:
        plans.append(plan)
        if out is not None:  # after each: the next takes minutes
            storage.write_whole(out, json.dumps([plan.as_json() for plan in plans], indent=2) + "\n")

    if PLATFORM.value == "cpu":
        chip = chips.CHIPS[CHIP.value] if CHIP.value else None
        add(planner.plan(config, info, f"cpu:{DEVICES.value}", parallel.make_mesh(), chip))
    meshes = {name: planner.tpu_mesh(name) for name in TOPOLOGY.value}
    for mesh in meshes.values():
        make_program(
            config, info, mesh
        )  # typos, and batches that do not split, are told before any long work
    for name, mesh in meshes.items():
        what = f"compiling for {name} ({mesh.size} devices)"
        print(f"{what} ...", flush=True)
        try:
            with progress.announced(True), progress.doing(what):
                add(planner.plan_apart(config, info, name))
        except BrokenProcessPool:
            crashed.append(name)
            print(f"the compiler of libtpu crashed for {name}", flush=True)
    if plans:
        print(f"\n{config.name}, one device and one step\n\n{planner.table(plans, PRICE.value)}\n\n{MODEL}")
    if crashed:
        raise UserError(
            f"no plan for {', '.join(crashed)}: the compiler of libtpu crashed there; try another shape of slice, "
            "another batch size or another version of libtpu"
        )


if __name__ == "__main__":
    cli.run(main, required=["config"])
