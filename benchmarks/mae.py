"""MAE's training step over the mask ratio, and beside the official PyTorch model.

python benchmarks/mae.py                                         ViT-S/4 at 32 pixels, ratios 0.01 to 0.9
python benchmarks/mae.py --side=224 --patch_size=16 --batch=8    ViT-S/16
python benchmarks/mae.py --torch_python=PYTHON --checkout=MAE    in turn with a checkout of facebookresearch/mae
python benchmarks/mae.py --encoder=vit_b --dtype=bfloat16 --side=224 --patch_size=16 --batch=256 ...    on a GPU

Forward, backward and AdamW on images that lie ready, with the paper's decoder (8 blocks of 512) unless told otherwise.
bfloat16 is autocast for PyTorch, which is compiled on a GPU. Prints a JSON line for each; 'ratio' is of the slowest,
nearly unmasked step to this one, or of the official model's step to ours at mask ratio 0.75.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import sys
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the other model needs memory too

import jax
import jax.numpy as jnp
import optax

from benchmarks import timing
from benchmarks.versus import Peer
from jssl import models
from jssl.methods import Context
from jssl.methods.generative.mae import MAE

RATIOS = (0.01, 0.25, 0.5, 0.75, 0.9)
PEER = pathlib.Path(__file__).resolve().parent / "mae_peer.py"


def stepping(task: dict[str, Any]) -> timing.Work:
    """Training steps of our model."""
    make = {384: models.vit_s, 768: models.vit_b}[task["features"]]
    encoder = make(
        patch_size=task["patch_size"],
        image_size=task["side"],
        heads=task["heads"],
        positions="sincos2d",
        dtype=task["dtype"],
    )
    names = ("mask_ratio", "decoder_dim", "decoder_layers", "decoder_heads", "dtype")
    method = MAE(encoder, **{name: task[name] for name in names})
    images = jax.random.normal(jax.random.key(0), (task["batch"], task["side"], task["side"], 3))
    rows = {"unlabeled": {"views": {"first": (images,)}, "index": jnp.arange(len(images))}}
    params, state = jax.jit(method.init)(jax.random.key(0), rows)
    optimizer = optax.adamw(1e-4, b1=0.9, b2=0.95, weight_decay=0.05)

    def step(params: Any, opt_state: Any, number: Any) -> Any:
        ctx = Context(jax.random.fold_in(jax.random.key(1), number), number, jnp.zeros(()))
        grads, _ = jax.grad(method.loss, has_aux=True)(params, state, rows, ctx)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    compiled = jax.jit(step, donate_argnums=(0, 1))
    held = [(params, jax.jit(optimizer.init)(params))]

    def run(count: int) -> float:
        start = time.perf_counter()
        for number in range(count):
            held[0] = compiled(*held[0], jnp.int32(number))
        jax.block_until_ready(held[0])
        return time.perf_counter() - start

    return run


def task_of(arguments: argparse.Namespace, mask_ratio: float) -> dict[str, Any]:
    """A ViT and its decoder: what both sides must know."""
    features = {"vit_s": 384, "vit_b": 768}[arguments.encoder]
    return {
        "side": arguments.side,
        "patch_size": arguments.patch_size,
        "batch": arguments.batch,
        "mask_ratio": mask_ratio,
        "features": features,
        "layers": 12,
        "heads": features // 64,
        "dtype": arguments.dtype,
        "device": "cuda" if jax.default_backend() == "gpu" else "cpu",
        "decoder_dim": 512,
        "decoder_layers": arguments.decoder_layers,
        "decoder_heads": 16,
        "checkout": arguments.checkout,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--encoder", choices=("vit_s", "vit_b"), default="vit_s")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--patch_size", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--decoder_layers", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="that a repeat lasts at least")
    parser.add_argument("--torch_python", default="", help="an interpreter that has torch and timm")
    parser.add_argument("--checkout", default="", help="a checkout of facebookresearch/mae")
    arguments = parser.parse_args()
    names = ("encoder", "dtype", "side", "patch_size", "batch", "decoder_layers")
    shape = {key: getattr(arguments, key) for key in names}
    if arguments.torch_python:
        task = task_of(arguments, 0.75)
        peer = Peer(arguments.torch_python, task, PEER)
        peer.ready()
        ours, theirs = timing.alternate(
            stepping(task), peer.work("step"), arguments.repeats, arguments.seconds
        )
        peer.close()
        timing.show(timing.summary("mae/step", "seconds", ours, **shape))
        timing.show(timing.summary("mae/official", "seconds", theirs, **shape, **peer.versions))
        timing.show(timing.summary("mae/ratio", "ratio", [b / a for a, b in zip(ours, theirs)], **shape))
        return
    slowest = 0.0
    for ratio in RATIOS:
        seconds = timing.measure(stepping(task_of(arguments, ratio)), arguments.repeats, arguments.seconds)
        slowest = slowest or statistics.median(seconds)
        more = {"mask_ratio": ratio, "ratio": slowest / statistics.median(seconds)}
        timing.show(timing.summary("mae/step", "seconds", seconds, **more, **shape))


if __name__ == "__main__":
    main()
