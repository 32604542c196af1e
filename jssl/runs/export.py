"""The encoder of a run as files that other libraries read."""

from __future__ import annotations

import importlib.util
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import jssl
from jssl import storage
from jssl.errors import UserError
from jssl.models import weights
from jssl.models.onnx_graph import to_onnx
from jssl.models.vit import ViT
from jssl.runs import workdir as workdirs
from jssl.runs.restore import make_program, restore
from jssl.train.program import Program
from jssl.train.state import TrainState

PLATFORMS = ("cpu", "cuda", "tpu")
SHOWN = ("knn/top1", "linear/top1", "untrained/linear/top1", "pixels/linear/top1")


def export(
    folder: str, out: pathlib.Path, kind: str = "safetensors", step: int | None = None
) -> list[pathlib.Path]:
    """Writes the encoder of a run.

    Args:
      folder: of the run.
      out: the folder to write.
      kind: 'safetensors' or 'npz', with the names of timm and torchvision; 'stablehlo', a program of jax.export that
        takes images float32[b, S, S, C] as they are normalised in training, for any b, and gives features; 'onnx', the
        same in float32, of images float32[b, C, S, S].
      step: the checkpoint to take; the newest if it is not given.

    Returns:
      The files.

    Raises:
      UserError: if there is no run, the folder is there, or the encoder has no names in other libraries.
    """
    if out.exists():
        raise UserError(f"--out={out} is there already: choose another name")
    path = storage.folder(folder)
    config = workdirs.read_config(path)
    if kind == "onnx":
        config.dtype = "float32"  # few machines compute ONNX's bfloat16
    prog = make_program(config, workdirs.read_info(path), for_training=False)
    state = restore(prog, path, step)
    params, stats = jax.device_get(prog.method.eval_encoder(state.params, state.method_state))
    about = _about(prog, int(state.step))
    content: dict[str, bytes | dict[str, np.ndarray]] = {}
    if kind == "stablehlo":
        content = {"encoder.stablehlo": program_of(prog, state)}
    elif kind == "onnx":
        model = to_onnx(_features(prog, state), (prog.size, prog.size, prog.info.channels))
        content = {"encoder.onnx": model}
    else:
        tensors = weights.save(params, stats, prog.method.encoder, prog.info.channels)
        content = {f"model.{kind}": tensors}
    result = workdirs.read_result(path) or {}
    content |= {
        "config.json": json.dumps(about, indent=2).encode(),
        "README.md": card(about, result, folder).encode(),
    }
    out.mkdir(parents=True)
    for name, value in content.items():
        if isinstance(value, bytes):
            storage.write_whole(out / name, value)
        else:
            weights.write(out / name, value)
    return [out / name for name in content]


def program_of(prog: Program, state: TrainState) -> bytes:
    """The encoder as a serialised program of jax.export, which holds its parameters."""
    if importlib.util.find_spec("flatbuffers") is None:
        raise UserError("--format=stablehlo needs: pip install 'jssl[export]'")
    (rows,) = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((rows, prog.size, prog.size, prog.info.channels), np.float32)
    program = jax.export.export(jax.jit(_features(prog, state)), platforms=PLATFORMS)(images)
    return bytes(program.serialize())


def _features(prog: Program, state: TrainState) -> Callable[[jax.Array], jax.Array]:
    """The encoder, which holds its parameters, as a function of normalised images."""
    params, stats = jax.device_get(prog.method.eval_encoder(state.params, state.method_state))
    return lambda images: prog.method.encoder.apply(params, stats, images, train=False)[0]


def _about(prog: Program, step: int) -> dict[str, Any]:
    """What a reader must know: architecture, what it sees of an image, where it comes from."""
    config, module = prog.config, prog.method.encoder.module
    options = {
        name: getattr(module, name)
        for name in ("patch_size", "registers", "layer_scale", "pool", "stem")
        if hasattr(module, name)
    }
    if isinstance(module, ViT):
        options["image_size"] = module.image_size
    return {
        "architecture": config.encoder.name,
        "num_classes": 0,
        "options": options,
        "input": {
            "size": [prog.info.channels, prog.size, prog.size],
            "mean": list(np.broadcast_to(prog.main.mean, prog.info.channels).tolist()),
            "std": list(np.broadcast_to(prog.main.std, prog.info.channels).tolist()),
            "color_space": prog.main.color_space,
            "value_range": list(prog.info.value_range or ()),
            "crop_fraction": config.evals.crop_fraction,
        },
        "method": config.method.name,
        "data": config.data.name,
        "step": step,
        "jssl": jssl.__version__,
    }


def card(about: dict[str, Any], result: dict[str, Any], folder: str) -> str:
    """A model card, with numbers of result.json."""
    rows = [f"| {name} | {100 * result[name]:.1f} % |" for name in SHOWN if name in result]
    sees = about["input"]
    ends = sees["value_range"]
    pixels = "pixels in [0, 1]" + (f" (black is {ends[0]:g}, white {ends[1]:g})" if ends else "")
    if sees["color_space"] == "lab":
        pixels += ", as CIE Lab (L - 50, a, b) / 50"
    lines = [
        "---",
        "library_name: jssl",
        f"tags: [self-supervised, {about['method']}]",
        "---",
        f"# {about['architecture']}, trained by {about['method']} on {about['data']}",
        "",
        f"{about['step']} steps, jssl {about['jssl']}. Images: {sees['size'][1]} x {sees['size'][2]} {pixels}, "
        f"less {sees['mean']}, divided by {sees['std']}.",
        "",
        *(["| measured | |", "|---|---|", *rows, ""] if rows else ["Not evaluated with labels.", ""]),
        f"Written by `python -m jssl.export --workdir={folder}`. The licence is that of the data and yours to state.",
        "",
    ]
    return "\n".join(lines)
