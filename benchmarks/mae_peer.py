"""Training steps of MAE's official PyTorch model, in a process of its own, on order: see benchmarks/mae.py.

Reads a line of JSON {"what": "step", "count": N} and answers {"seconds": S}. Imports nothing of jssl. The model is that
of a checkout of https://github.com/facebookresearch/mae, which was written for timm 0.3.2: what later versions of timm
and NumPy no longer have is put back.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def make_step(task: dict[str, Any]) -> tuple[Callable[[], None], Callable[[], None]]:
    """One update of the model of a task, see `benchmarks.mae.task_of`, on random images; and waiting for updates."""
    import numpy as np
    import timm.models.vision_transformer as timm_vit
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    vars(np)["float"] = float
    block = timm_vit.Block
    timm_vit.Block = lambda *args, qk_scale=None, **kwargs: block(*args, **kwargs)
    sys.path.insert(0, task["checkout"])
    model = importlib.import_module("models_mae").MaskedAutoencoderViT(
        img_size=task["side"],
        patch_size=task["patch_size"],
        embed_dim=task["features"],
        depth=task["layers"],
        num_heads=task["heads"],
        decoder_embed_dim=task["decoder_dim"],
        decoder_depth=task["decoder_layers"],
        decoder_num_heads=task["decoder_heads"],
        mlp_ratio=4,
        norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
        norm_pix_loss=True,
    )
    model.to(task["device"])
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, betas=(0.9, 0.95), weight_decay=0.05)
    images = torch.randn(task["batch"], 3, task["side"], task["side"], device=task["device"])
    on_gpu, bfloat16 = task["device"] == "cuda", task["dtype"] == "bfloat16"
    forward = torch.compile(model) if on_gpu else model

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(task["device"], torch.bfloat16, enabled=bfloat16):
            loss, _, _ = forward(images, mask_ratio=task["mask_ratio"])
        loss.backward()
        optimizer.step()

    return step, torch.cuda.synchronize if on_gpu else lambda: None


def main() -> None:
    """Answers orders until stdin ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may be among the answers

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        import timm
        import torch

        step, wait = make_step(json.loads(sys.argv[1]))
        answer(versions={"torch": torch.__version__, "timm": timm.__version__})
        for line in sys.stdin:
            start = time.perf_counter()
            for _ in range(json.loads(line)["count"]):
                step()
            wait()
            answer(seconds=time.perf_counter() - start)
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
