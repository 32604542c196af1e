"""What a compiled program sends over the network, and what it moves in memory, read from its HLO text."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Iterator

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
FREE = (
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "while",
    "conditional",
    "call",
    "iota",
)

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)$")
_SHAPE = re.compile(r"\b([a-z]+\d*(?:e\dm\d\w*)?)\[([\d,]*)\]")
_CALLED = re.compile(
    r"\b(calls|to_apply|body|condition|branch_computations|called_computations)=(\{[^}]*\}|%?[\w.-]+)"
)
_TRIPS = re.compile(r'known_trip_count"?:\{"?n"?:"?(\d+)')
_GROUPS = re.compile(r"replica_groups=(?:\[(\d+),(\d+)\]|\{\{([\d,]+)\})")
_MESH_GROUPS = re.compile(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}")
_CHANNEL = re.compile(r"channel_id=(\d+)")
_SCATTER = "all-reduce-scatter"  # what TPUs call a fusion that reduces and keeps its part


@dataclasses.dataclass(frozen=True)
class Collective:
    """One kind of communication in a step.

    Attributes:
      count: how often it happens.
      payload: bytes of the arrays that are reduced, gathered or sent, per device.
      sent: bytes that every device sends if the algorithm is a ring.
    """

    count: float = 0.0
    payload: float = 0.0
    sent: float = 0.0

    def __add__(self, other: Collective) -> Collective:
        return Collective(self.count + other.count, self.payload + other.payload, self.sent + other.sent)


@dataclasses.dataclass(frozen=True)
class Instruction:
    name: str
    opcode: str
    shape: str
    rest: str


def collectives(text: str, devices: int) -> dict[str, Collective]:
    """Communication by kind, loops as often as they run.

    Args:
      text: `compiled.as_text()`.
      devices: of the mesh.
    """
    computations, _ = _parse(text)
    found: dict[str, Collective] = collections.defaultdict(Collective)
    seen = set()
    for name, times in _multiplicities(text, inside_fusions=True).items():
        for instruction in computations[name]:
            kind = instruction.opcode.removesuffix("-start")
            if kind not in KINDS:
                continue
            if "fus" in name:  # TPUs spread one collective over several fusions
                channel = _CHANNEL.search(instruction.rest)
                key = (kind, channel and channel[1], str(_SHAPE.findall(instruction.shape)))
                if key in seen:
                    continue
                seen.add(key)
            scatters = name.startswith(_SCATTER)
            kind = "reduce-scatter" if scatters else kind
            found[kind] += _one(kind, instruction, devices, times, scatters)
    return dict(found)


def loops_factor(text: str) -> float:
    """Bytes moved with loops as often as they run, over those with every loop run once, as XLA counts them."""
    computations, _ = _parse(text)
    often = _multiplicities(text)
    moved = {name: sum(_bytes_moved(computations[name])) for name in often}
    return sum(moved[name] * often[name] for name in moved) / (sum(moved.values()) or 1.0)


def _one(kind: str, instruction: Instruction, devices: int, times: float, whole: bool) -> Collective:
    group = _group(instruction.rest, devices)
    if group < 2:
        return Collective()
    shape = instruction.shape
    if instruction.opcode.endswith("-start") and kind != "all-reduce":
        operands, results = _parts(shape)[:2]
        shape, whole = (operands, True) if kind == "reduce-scatter" else (results, whole)
    payload = sum(_size(match) for match in _SHAPE.finditer(shape))
    if kind == "reduce-scatter" and not whole:
        payload *= group  # the result is a part of what is reduced
    part = (group - 1) / group
    sent = {"all-reduce": 2 * part, "collective-permute": 1.0}.get(kind, part) * payload
    return Collective(times, times * payload, times * sent)


def _parts(shape: str) -> list[str]:
    """The elements of a tuple's shape."""
    parts, depth = [""], 0
    for letter in shape[1:-1]:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _group(rest: str, devices: int) -> int:
    """How many devices take part."""
    if mesh := _MESH_GROUPS.search(rest):
        axes = dict(re.findall(r"'(\w+)'=(\d+)", mesh[1]))
        return math.prod(int(axes[axis]) for axis in re.findall(r"'(\w+)'", mesh[2]))
    found = _GROUPS.search(rest)
    if found is None:
        return devices
    return int(found[2]) if found[2] else found[3].count(",") + 1


def _size(match: re.Match[str]) -> float:
    """Bytes of a shape as HLO writes it."""
    bits = 8 if match[1] == "pred" else int((re.findall(r"\d+", match[1]) or ["0"])[0])
    return bits / 8 * math.prod(int(n) for n in match[2].split(",") if n)


def _bytes_moved(instructions: list[Instruction]) -> Iterator[float]:
    """Operands and results of what is not free; inside a fusion nothing reaches memory."""
    sizes = {i.name: sum(_size(m) for m in _SHAPE.finditer(i.shape)) for i in instructions}
    for i in instructions:
        if i.opcode not in FREE and not i.opcode.endswith("-done"):
            operands = re.findall(r"%([\w.-]+)", i.rest.partition("), ")[0])
            yield sizes[i.name] + sum(sizes.get(name, 0.0) for name in operands)


def _multiplicities(text: str, inside_fusions: bool = False) -> dict[str, float]:
    """How often a step runs each computation that is not the inside of a reduction, or (unless asked) of a fusion."""
    computations, entry = _parse(text)
    times: dict[str, float] = collections.defaultdict(float)

    def visit(name: str, often: float) -> None:
        times[name] += often
        for instruction in computations.get(name, []):
            if instruction.opcode in ("reduce", "all-reduce", "sort", "scatter", "map"):
                continue
            if instruction.opcode == "fusion" and not inside_fusions:
                continue
            inner = often * (_trips(instruction, computations) if instruction.opcode == "while" else 1)
            for _, called in _CALLED.findall(instruction.rest):
                for target in re.findall(r"[\w.-]+", called):
                    if target in computations:
                        visit(target, inner)

    visit(entry, 1.0)
    return {name: often for name, often in times.items() if name in computations}


def _trips(loop: Instruction, computations: dict[str, list[Instruction]]) -> int:
    """How often a loop runs: as XLA notes it, or, on TPUs, up to the constant that its counter is compared with."""
    if noted := _TRIPS.search(loop.rest):
        return int(noted[1])
    name = re.search(r"condition=%?([\w.-]+)", loop.rest)
    condition = computations.get(name[1], []) if name else []
    for instruction in list(condition):
        if called := re.search(r"calls=%?([\w.-]+)", instruction.rest):
            condition = [*condition, *computations.get(called[1], [])]
    if not any(i.opcode == "compare" and "direction=LT" in i.rest for i in condition):
        return 1
    limits = [re.match(r"(\d+)\)", i.rest) for i in condition if i.opcode == "constant"]
    return max((int(limit[1]) for limit in limits if limit), default=1)


def _parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """Computations by name, and the name of the entry."""
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", []
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            current = computations.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif found := _INSTRUCTION.match(line):
            current.append(Instruction(found[1], found[3], found[2], found[4]))
    return computations, entry
