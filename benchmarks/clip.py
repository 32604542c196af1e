"""CLIP's training step beside open_clip's: the same two towers, in turn.

python benchmarks/clip.py                          ours alone, ViT-Ti/8 at 64 pixels, text of as many blocks
python benchmarks/clip.py --torch_python=PYTHON    in turn with open_clip (an interpreter that has torch and open_clip)

Forward, backward and AdamW in float32 on images and tokens that lie ready. open_clip's image tower has a layer norm
before its blocks, too. Prints a JSON line for each; 'ratio' is of open_clip's step to ours.
"""

from __future__ import annotations

import argparse
import os
import pathlib
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
from jssl.methods.multimodal.clip import CLIP

PEER = pathlib.Path(__file__).resolve().parent / "clip_peer.py"
LAYERS, HEAD = 12, 64  # blocks of a tower, and features of an attention head


def stepping(task: dict[str, Any]) -> timing.Work:
    """Training steps of our model."""
    make = {192: models.vit_ti, 384: models.vit_s, 768: models.vit_b}[task["features"]]
    method = CLIP(
        make(patch_size=task["patch_size"], image_size=task["side"], heads=task["features"] // HEAD),
        proj_dim=task["features"],
        text_features=task["features"],
        text_layers=LAYERS,
        text_vocabulary=task["vocabulary"],
        text_end=task["vocabulary"] - 1,
    )
    images = jax.random.normal(jax.random.key(0), (task["batch"], task["side"], task["side"], 3))
    shape = (task["batch"], task["context"])
    tokens = jax.random.randint(jax.random.key(1), shape, 1, task["vocabulary"] - 1)
    rows = {
        "unlabeled": {"views": {"first": (images,)}, "text": tokens.at[:, -1].set(task["vocabulary"] - 1)}
    }
    params, state = jax.jit(method.init)(jax.random.key(0), rows)
    optimizer = optax.adamw(5e-4, b1=0.9, b2=0.98, eps=1e-6, weight_decay=0.2)

    def step(params: Any, opt_state: Any, rows: Any, number: Any) -> Any:
        ctx = Context(jax.random.key(1), number, jnp.zeros(()))
        grads, _ = jax.grad(method.loss, has_aux=True)(params, state, rows, ctx)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return method.constrained(optax.apply_updates(params, updates)), opt_state

    compiled = jax.jit(step, donate_argnums=(0, 1))
    held = [(params, jax.jit(optimizer.init)(params))]

    def run(count: int) -> float:
        start = time.perf_counter()
        for number in range(count):
            held[0] = compiled(*held[0], rows, jnp.int32(number))
        jax.block_until_ready(held[0])
        return time.perf_counter() - start

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--features", type=int, choices=(192, 384, 768), default=192, help="of both towers")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--patch_size", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--context", type=int, default=32, help="tokens of a caption")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="that a repeat lasts at least")
    parser.add_argument("--torch_python", default="", help="an interpreter that has torch and open_clip")
    arguments = parser.parse_args()
    names = ("features", "side", "patch_size", "batch", "context", "vocabulary")
    shape = {name: getattr(arguments, name) for name in names}
    task = {**shape, "layers": LAYERS, "head": HEAD}
    if not arguments.torch_python:
        seconds = timing.measure(stepping(task), arguments.repeats, arguments.seconds)
        timing.show(timing.summary("clip/step", "seconds", seconds, **shape))
        return
    peer = Peer(arguments.torch_python, task, PEER)
    peer.ready()
    ours, theirs = timing.alternate(stepping(task), peer.work("step"), arguments.repeats, arguments.seconds)
    peer.close()
    timing.show(timing.summary("clip/step", "seconds", ours, **shape))
    timing.show(timing.summary("clip/open_clip", "seconds", theirs, **shape, **peer.versions))
    timing.show(timing.summary("clip/ratio", "ratio", [b / a for a, b in zip(ours, theirs)], **shape))


if __name__ == "__main__":
    main()
