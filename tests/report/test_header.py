"""What a run says of itself before it begins."""

import numpy as np
from PIL import Image

from jssl.data.datasets import open_data
from jssl.report.header import header, shorter_side
from jssl.train.program import make_program
from tests.conftest import tiny_config


def lines(config, mesh):
    data = open_data(config)
    text = header(make_program(config, data.info, mesh), data, "runs/x")
    return dict(line.split(maxsplit=1) for line in text.splitlines())


def test_the_data_are_said_as_they_were_understood(mesh1):
    found = lines(tiny_config(name="x", data__labels="2 per class", total_steps=7), mesh1)
    assert found["run"] == "x, in runs/x"
    assert "to train" in found["data"]
    assert found["data"].endswith("; grey, 8x8 (uint8), 10 classes, 20 labels to learn from")
    assert found["method"].startswith("simclr, views of 8, 8 pixels")
    assert found["length"].startswith("7 steps")
    assert found["device"] == "1 x cpu, float32"
    assert "warning:" not in found


def test_photographs_that_are_seen_at_8_pixels_are_warned_of(tmp_path, mesh1):
    rng = np.random.default_rng(0)
    for name in range(24):
        pixels = rng.integers(0, 256, (40 + name, 70, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    config = tiny_config(data__name=str(tmp_path), data__holdout=0.0, data__unlabeled__batch_size=8)
    assert shorter_side(open_data(config).train) in range(48, 56)
    found = lines(config, mesh1)
    assert "colour" in found["data"]
    assert found["data"].endswith("unlabelled")
    assert "are seen at 8: set data.unlabeled.views" in found["warning:"]
