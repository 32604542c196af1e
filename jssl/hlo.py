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
    found: dict[str, Collective] = collections.defaultdict(Collective)
    for instruction, times in _walk(text):
        kind = instruction.opcode.removesuffix("-start")
        if kind in KINDS and not instruction.opcode.endswith("-done"):
            found[kind] += _one(kind, instruction, devices, times)
    return dict(found)


def loops_factor(text: str) -> float:
    """Bytes moved with loops as often as they run, over those with every loop run once, as XLA counts them."""
    computations, _ = _parse(text)
    often = _multiplicities(text)
    moved = {name: sum(_bytes_moved(computations[name])) for name in often}
    return sum(moved[name] * often[name] for name in moved) / (sum(moved.values()) or 1.0)


def _one(kind: str, instruction: Instruction, devices: int, times: float) -> Collective:
    sizes = [_size(match) for match in _SHAPE.finditer(instruction.shape)]
    group = _group(instruction.rest, devices)
    if group < 2:
        return Collective()
    if instruction.opcode.endswith("-start") and len(sizes) > 1 and kind != "all-reduce":
        sizes = [max(sizes)]  # operand, result, and contexts
    payload = float(sum(sizes))
    if kind == "reduce-scatter":
        payload *= group  # the result is a part of what is reduced
    part = (group - 1) / group
    sent = {"all-reduce": 2 * part, "collective-permute": 1.0}.get(kind, part) * payload
    return Collective(times, times * payload, times * sent)


def _group(rest: str, devices: int) -> int:
    """How many devices take part."""
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


def _walk(text: str) -> Iterator[tuple[Instruction, float]]:
    computations, _ = _parse(text)
    for name, times in _multiplicities(text).items():
        for instruction in computations[name]:
            yield instruction, times


def _multiplicities(text: str) -> dict[str, float]:
    """How often a step runs each computation that is not the inside of a fusion or a reduction."""
    computations, entry = _parse(text)
    times: dict[str, float] = collections.defaultdict(float)

    def visit(name: str, often: float) -> None:
        times[name] += often
        for instruction in computations.get(name, []):
            if instruction.opcode in ("fusion", "reduce", "all-reduce", "sort", "scatter", "map"):
                continue
            trips = _TRIPS.search(instruction.rest) if instruction.opcode == "while" else None
            inner = often * (int(trips[1]) if trips else 1)
            for _, called in _CALLED.findall(instruction.rest):
                for target in re.findall(r"[\w.-]+", called):
                    if target in computations:
                        visit(target, inner)

    visit(entry, 1.0)
    return {name: often for name, often in times.items() if name in computations}


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
