"""A model of what a run costs, from the compiled step alone: memory, operations, communication, time."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import os
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jssl import parallel
from jssl.data import splits
from jssl.data.streams import DataInfo
from jssl.errors import UserError
from jssl.parallel import chips, hlo
from jssl.parallel.chips import GIB, Chip
from jssl.parallel.hlo import Collective
from jssl.train import flops
from jssl.train.loop import Timer
from jssl.train.program import Program, make_program
from jssl.types import PyTree

ACHIEVED = 0.5  # of the data sheet, by chips in a bad case: an assumption
HOP = 1e-6  # seconds that a message takes from one chip to the next
# Shapes of data sets that need not be there to plan with them.
KNOWN = {
    "cifar10": DataInfo(50_000, (32, 32, 3), 3, 10),
    "cifar100": DataInfo(50_000, (32, 32, 3), 3, 100),
    "imagenet2012": DataInfo(1_281_167, None, 3, 1000),
}
USABLE = 0.98  # of a chip's memory, by a program; an assumption: the runtime keeps some


Range = tuple[float, float]  # what may be expected, the better end first


@dataclasses.dataclass(frozen=True)
class Plan:
    """The cost of a step on one device, and of the run on all of them.

    Attributes:
      topology: as it was asked for.
      devices: of the mesh.
      chip: what each can do; None if it is not in the table.
      batch_size: over all devices.
      memory: bytes by part: 'parameters', 'optimizer', 'method state', 'inputs', 'temporaries', 'program'.
      needed: bytes in all.
      compiled: False if the compiler found that the program does not fit: then what follows is zero.
      flops: of matrix products and convolutions.
      hbm_bytes: to and from memory, as XLA estimates.
      collectives: by kind.
      steps: of the run.
      evaluation_flops: of all devices, in matrix products and convolutions of all evaluations of the run.
    """

    topology: str
    devices: int
    chip: Chip | None
    batch_size: int
    memory: dict[str, float]
    needed: float
    compiled: bool
    flops: float
    hbm_bytes: float
    collectives: dict[str, Collective]
    steps: int
    evaluation_flops: float = 0.0

    @property
    def room(self) -> float:
        """Bytes that a program can have; infinite for chips that are not in the table."""
        return USABLE * self.chip.hbm if self.chip else math.inf

    @property
    def fits(self) -> bool | None:
        """Whether the program fits in the memory of the chip; None if that is not known."""
        return None if self.chip is None else self.compiled and self.needed <= self.room

    @property
    def largest_batch(self) -> int | None:
        """About the largest batch that fits, if what is not state grows with the batch; None if it is not known."""
        state = sum(self.memory[part] for part in ("parameters", "optimizer", "method state", "program"))
        growing = self.needed - state
        if not (math.isfinite(self.room) and growing > 0):
            return None
        local = self.batch_size / self.devices * (self.room - state) / growing
        return max(0, math.floor(local)) * self.devices

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds that each resource alone would take for a step; empty where the chip is not known."""
        if self.chip is None or not self.compiled:
            return {}
        messages = sum(collective.count for collective in self.collectives.values())
        sent = sum(collective.sent for collective in self.collectives.values())
        return {
            "compute": self.flops / self.chip.peak,
            "memory": self.hbm_bytes / self.chip.hbm_bandwidth,
            "network": sent / self.chip.network,
            "latency": messages * HOP * hops(self.topology, self.devices),
        }

    @property
    def step_seconds(self) -> Range:
        """From all of it at once, at the speeds of the data sheets, to one after the other, at half of them."""
        seconds = self.seconds
        if not seconds:
            return math.nan, math.nan
        links = seconds["network"] + seconds["latency"]
        least = max(seconds["compute"], seconds["memory"], links)
        return least, (seconds["compute"] + seconds["memory"] + links) / ACHIEVED

    @property
    def limit(self) -> str:
        """The resource that takes most."""
        return max(self.seconds, key=lambda name: self.seconds[name]) if self.seconds else "unknown"

    @property
    def images_per_second(self) -> Range:
        """Images per second of all devices, from the most to the least."""
        least, most = self.step_seconds
        return self.batch_size / least, self.batch_size / most

    @property
    def hours(self) -> Range:
        """Hours of training."""
        least, most = self.step_seconds
        return self.steps * least / 3600, self.steps * most / 3600

    @property
    def evaluation_hours(self) -> Range:
        """Hours of all evaluations: the encoder's passes alone, as if these were as close to the limit as a step is."""
        if self.chip is None or not self.flops:
            return math.nan, math.nan
        least = self.evaluation_flops / (self.devices * self.flops)  # in steps
        return least * self.step_seconds[0] / 3600, least * self.step_seconds[1] / 3600

    @property
    def chip_hours(self) -> Range:
        """Hours of training and evaluations, times chips."""
        both = zip(self.hours, self.evaluation_hours)
        least, most = (self.devices * sum(pair) for pair in both)
        return least, most

    @property
    def rented(self) -> chips.Slice | None:
        """How it is rented, if that is known."""
        return chips.tpu_slice(self.topology.partition(":")[0], self.devices)

    def as_json(self) -> dict[str, Any]:
        """All of it, for a file; of ranges both ends."""
        names = ["fits", "largest_batch", "seconds", "step_seconds", "limit", "images_per_second", "hours"]
        names += ["evaluation_hours", "chip_hours"]
        values = {**dataclasses.asdict(self), **{name: getattr(self, name) for name in names}}
        values["rented"] = None if self.rented is None else dataclasses.asdict(self.rented)
        return {key: None if _is_nan(value) else value for key, value in values.items()}


def _is_nan(value: Any) -> bool:
    ends = value if isinstance(value, tuple) else (value,)
    return any(isinstance(end, float) and math.isnan(end) for end in ends)


def hops(topology: str, devices: int) -> int:
    """The hops of a message round the longest way of a torus; round a ring where no shape is given."""
    sides = [int(side) for side in re.findall(r"\d+", topology.partition(":")[2])] or [devices]
    return max(1, sum(side for side in sides if side > 1))


def plan(config: Any, info: DataInfo, topology: str, mesh: Mesh, chip: Chip | None) -> Plan:
    """Compiles the train step of a config for a mesh and reads off what it costs.

    Raises:
      UserError: for what is wrong with the config, as a run would say it.
    """
    program = make_program(config, info, mesh)
    chip = chip or chips.chip(mesh.devices.flat[0].device_kind)
    memory = state_memory(program)
    common: dict[str, Any] = {
        "topology": topology,
        "devices": mesh.size,
        "chip": chip,
        "batch_size": program.clock.batch_size,
        "steps": program.clock.total_steps,
        "evaluation_flops": evaluation_flops(program),
    }
    try:
        compiled = program.compile()
    except jax.errors.JaxRuntimeError as error:
        temporaries = out_of_memory(str(error), sum(memory.values()))
        if temporaries is None:
            raise
        nothing: dict[str, Any] = {"flops": 0.0, "hbm_bytes": 0.0, "collectives": {}, "compiled": False}
        memory |= {"temporaries": temporaries, "program": 0.0}
        return Plan(**common, memory=memory, needed=sum(memory.values()), **nothing)
    stats, costs, text = compiled.memory_analysis(), compiled.cost_analysis(), compiled.as_text()
    assert stats is not None
    assert costs is not None
    assert text is not None
    memory["temporaries"] = float(stats.temp_size_in_bytes)
    memory["program"] = float(stats.generated_code_size_in_bytes)
    return Plan(
        **common,
        memory=memory,
        needed=sum(memory.values()),
        compiled=True,
        flops=program.flops / mesh.size,
        hbm_bytes=float(costs["bytes accessed"]) * hlo.loops_factor(text),
        collectives=hlo.collectives(text, mesh.size),
    )


def evaluation_flops(program: Program) -> float:
    """Operations of the encoder's passes in all evaluations of a run.

    kNN, linear, MLP and health see features of the labelled training images, without labels of all; an SGD probe trains
    for epochs on them; every layer takes a pass, at most; those of the untrained encoder come once more.
    """
    config, info = program.config, program.info
    evals, images = config.evals, info.num_labeled or info.num_examples
    shape = (program.uncropped_size, program.uncropped_size, info.channels)
    if program.main.as_images:
        assert info.image_shape is not None
        shape = info.image_shape
    batch = jax.ShapeDtypeStruct((evals.batch_size, *shape), info.dtype)
    state = program.abstract_state()
    traced = program.features.trace(state.params, state.method_state, batch)  # type: ignore[attr-defined]
    each = flops.count(traced.jaxpr) / evals.batch_size
    passes = Timer(config, program.clock).evaluations_left(0)
    passes += any(
        "untrained" in evals[name].baselines
        for name in ("knn", "linear", "mlp", "health")
        if evals[name].enabled
    )
    if evals.sgd.enabled:
        passes += evals.sgd.epochs * (1 + ("untrained" in evals.sgd.baselines))
    if evals.finetune.enabled:  # forward and backward cost three passes forward
        epochs = len(evals.finetune.labels) * evals.finetune.draws * evals.finetune.epochs
        passes += 3 * epochs * (1 + ("untrained" in evals.finetune.baselines))
    if evals.layers.enabled:
        layers = len(evals.layers.names or program.layer_names)
        passes += layers * (1 + ("untrained" in evals.layers.baselines))
    return each * images * passes


def plan_apart(config: Any, info: DataInfo, topology: str) -> Plan:
    """`plan` for a TPU slice, in a process of its own: the compiler of libtpu can crash.

    Raises:
      UserError: as `plan` and `tpu_mesh` do.
      BrokenProcessPool: if it crashed.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_plan_slice, config, info, topology).result()


def _plan_slice(config: Any, info: DataInfo, topology: str) -> Plan:
    jax.config.update("jax_platforms", "cpu")
    return plan(config, info, topology, tpu_mesh(topology), None)


def state_memory(program: Program) -> dict[str, float]:
    """Bytes per device of what a step is given, by part."""
    state = program.abstract_state()
    parts = {"parameters": state.params, "optimizer": state.opt_state, "method state": state.method_state}
    return {
        **{name: local_bytes(part) for name, part in parts.items()},
        "inputs": local_bytes(program.abstract_batch()),
    }


def local_bytes(tree: PyTree) -> float:
    """Bytes that one device holds of shapes with shardings."""
    shards = [(x.sharding.shard_shape(x.shape), x.dtype.itemsize) for x in jax.tree.leaves(tree)]
    return float(sum(math.prod(shape) * size for shape, size in shards))


def out_of_memory(message: str, state: float) -> float | None:
    """Bytes of temporaries that a program would have needed, from the compiler's complaint; None for other complaints.

    Args:
      message: of the error.
      state: bytes of what the step is given; one form of the complaint includes them.
    """
    units = {"K": 2.0**10, "M": 2.0**20, "G": GIB}
    if found := re.search(r"Used ([\d.]+)([KMG]) of [\d.]+[KMG] hbm", message):
        return max(0.0, float(found[1]) * units[found[2]] - state)
    if found := re.search(r"HLO temporaries \(([\d.]+)([KMG])\) exceeds available HBM", message):
        return float(found[1]) * units[found[2]]
    return None


def data_info(config: Any) -> DataInfo:
    """The shape of the training set: of a well-known data set by its name, of others by opening them."""
    if config.data.name not in KNOWN:
        from jssl.data.datasets import open_data

        return open_data(config).info
    text = config.data.text
    beside = {"text_context": text.context, "text_vocabulary": text.vocabulary} if text.context else {}
    beside |= (
        {"text_end": 2, "text_mask": 3} if text.context else {}
    )  # as of tokenisers that are trained here
    info = dataclasses.replace(KNOWN[config.data.name], **beside)
    rest, _ = splits.holdout(info.num_examples, None, config.data.holdout, config.data.split_seed)
    if config.data.labels == "none":
        return dataclasses.replace(info, num_examples=len(rest), num_classes=0)
    even = np.arange(len(rest)) % info.num_classes  # as if the classes were equally large
    visible = len(splits.label_subset(even, config.data.labels, 0))
    unlabeled = len(rest) if config.data.unlabeled.with_labeled else len(rest) - visible
    return dataclasses.replace(info, num_examples=unlabeled, num_labeled=visible)


def tpu_mesh(topology: str) -> Mesh:
    """A mesh over the devices of a TPU slice that is not there, for compiling ahead of time.

    Args:
      topology: generation and shape in chips: 'v5e:4x4', 'v4:2x2x4'.

    Raises:
      UserError: if libtpu is not installed, or does not know the topology.
    """
    from jax.experimental import topologies

    if not re.fullmatch(r"v\d\w*:\d+(x\d+)+", topology):
        raise UserError(f"--topology={topology}: write it as v5e:4x4, v5p:2x2x4 or v6e:16x16")
    # libtpu asks the machine what it is, unless it is told that there is no TPU.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault(
        "ALLOW_MULTIPLE_LIBTPU_LOAD", "1"
    )  # several plans at once; there is no TPU to share
    options: dict[str, Any] = {}
    if topology.startswith("v4:"):
        options["chip_config_name"] = "megacore"  # two cores are one device, as on a Cloud TPU VM
    if re.fullmatch(r"v\w+:1x1(x1)?", topology):
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        description = topologies.get_topology_desc(platform="tpu", topology_name=topology, **options)
    except Exception as error:  # JaxRuntimeError, or RuntimeError without libtpu
        text = " ".join(str(error).split())
        if "not installed" in text or "libtpu.so" in text:
            raise UserError(
                "planning for TPUs needs libtpu, also without a TPU: pip install 'jssl[tpu]'"
            ) from error
        raise UserError(
            f"--topology={topology}: {text[:200]}; write it as v5e:4x4, v5p:2x2x4 or v6e:16x16"
        ) from error
    return parallel.make_mesh(np.asarray(description.devices).tolist())


def table(plans: Sequence[Plan], price: float = 0.0) -> str:
    """Markdown: a column for every plan.

    Args:
      plans: one or more.
      price: of a chip for an hour, in any currency; 0 for none.
    """
    rows: dict[str, list[str]] = {"": [plan.topology for plan in plans]}
    rows["accelerator type"] = [
        "?" if plan.rented is None else plan.rented.accelerator_type for plan in plans
    ]
    rows["hosts"] = ["?" if plan.rented is None else str(plan.rented.hosts) for plan in plans]
    rows["devices"] = [str(plan.devices) for plan in plans]
    rows["batch"] = [f"{plan.batch_size:,}" for plan in plans]
    for part in plans[0].memory:
        rows[part] = [size(plan.memory[part]) for plan in plans]
    rows["memory, needed"] = [size(plan.needed) for plan in plans]
    rows["memory of a chip"] = [size(plan.chip.hbm) if plan.chip else "?" for plan in plans]
    rows["fits"] = ["?" if plan.chip is None else "yes" if plan.fits else "NO" for plan in plans]
    rows["largest batch, about"] = [
        "?" if plan.largest_batch is None else f"{plan.largest_batch:,}" for plan in plans
    ]
    rows["GFLOP"] = [_given(plan, plan.flops / 1e9, ",.5g") for plan in plans]
    rows["memory traffic, GB"] = [_given(plan, plan.hbm_bytes / 1e9, ",.3g") for plan in plans]
    for kind in sorted({kind for plan in plans for kind in plan.collectives}):
        found = [plan.collectives.get(kind, Collective()) for plan in plans]
        rows[f"{kind}s, MB"] = [f"{c.count:.0f}, {c.payload / 1e6:,.1f}" for c in found]
    for term in ("compute", "memory", "network", "latency"):
        rows[f"{term}, ms"] = [_given(plan, 1e3 * plan.seconds.get(term, math.nan), ".1f") for plan in plans]
    rows["limit"] = [plan.limit for plan in plans]
    rows["step, ms"] = [_between(plan, plan.step_seconds, 1e3) for plan in plans]
    rows["images/s"] = [_between(plan, plan.images_per_second) for plan in plans]
    best = max((plan.images_per_second[0] / plan.devices for plan in plans if plan.seconds), default=math.nan)
    each = [plan.images_per_second[0] / plan.devices / best for plan in plans]
    rows["images/s and device, of the best"] = [
        _given(plan, 100 * e, ".0f", " %") for plan, e in zip(plans, each)
    ]
    rows["images/s that each host must decode"] = [
        "?" if plan.rented is None else _between(plan, plan.images_per_second, 1 / plan.rented.hosts)
        for plan in plans
    ]
    rows["hours of training"] = [_between(plan, plan.hours) for plan in plans]
    rows["hours of evaluations"] = [_between(plan, plan.evaluation_hours) for plan in plans]
    rows["chip-hours"] = [_between(plan, plan.chip_hours) for plan in plans]
    if price:
        rows[f"price, at {price:g} for a chip and hour"] = [
            _between(plan, plan.chip_hours, price) for plan in plans
        ]
    lines = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    return "\n".join([lines[0], "|---" * (len(plans) + 1) + "|", *lines[1:]])


def size(count: float) -> str:
    """Bytes for people: '14.0 GiB', '310 KiB'."""
    power = min(3, int(math.log2(max(count, 1)) // 10))
    return f"{count / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB')[power]}"


def _given(plan: Plan, value: float, form: str, unit: str = "") -> str:
    """A figure, or a dash where the program did not compile or the chip is not known."""
    return f"{value:{form}}{unit}" if plan.compiled and not math.isnan(value) else "-"


def _between(plan: Plan, ends: Range, times: float = 1.0) -> str:
    """A range in three digits, or a dash."""
    if not plan.compiled or _is_nan(ends):
        return "-"
    better, worse = (_three_digits(times * end) for end in ends)
    return better if better == worse else f"{better} to {worse}"


def _three_digits(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.10g}"
