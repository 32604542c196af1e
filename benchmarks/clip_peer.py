"""Training steps of open_clip's CLIP, in a process of its own, on order: see benchmarks/clip.py.

Reads a line of JSON {"what": "step", "count": N} and answers {"seconds": S}. Imports nothing of jssl.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def make_step(task: dict[str, Any]) -> Callable[[], None]:
    """One update of the model of a task, see `benchmarks.clip.main`, on random images and tokens."""
    import torch
    from open_clip import ClipLoss
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    image = CLIPVisionCfg(
        layers=task["layers"],
        width=task["features"],
        head_width=task["head"],
        patch_size=task["patch_size"],
        image_size=task["side"],
    )
    text = CLIPTextCfg(
        context_length=task["context"],
        vocab_size=task["vocabulary"],
        width=task["features"],
        heads=task["features"] // task["head"],
        layers=task["layers"],
    )
    model = CLIP(task["features"], image, text, output_dict=False)
    loss = ClipLoss()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
    images = torch.randn(task["batch"], 3, task["side"], task["side"])
    tokens = torch.randint(1, task["vocabulary"] - 1, (task["batch"], task["context"]))
    tokens[:, -1] = task["vocabulary"] - 1

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        seen, read, scale = model(images, tokens)[:3]
        loss(seen, read, scale).backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))

    return step


def main() -> None:
    """Answers orders until stdin ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may be among the answers

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        import open_clip
        import torch

        step = make_step(json.loads(sys.argv[1]))
        answer(versions={"torch": torch.__version__, "open_clip": open_clip.__version__})
        for line in sys.stdin:
            start = time.perf_counter()
            for _ in range(json.loads(line)["count"]):
                step()
            answer(seconds=time.perf_counter() - start)
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
