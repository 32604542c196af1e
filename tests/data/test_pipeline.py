import logging
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from etils import epath
from PIL import Image

from jssl import parallel
from jssl.data import host, sources
from jssl.data.augment import image_ops
from jssl.data.augment.view_spec import ViewSpec
from jssl.data.pipeline import BadImages, DeviceIterator, EvalBatches, TrainBatches, read_ahead
from jssl.data.sources import ArraySource, FolderSource
from jssl.errors import UserError
from tests.commands import HANG, environment

CROP = ViewSpec(size=12, crop_area_min=0.2, copies=2)
WHOLE = ViewSpec(size=16)
SPECS = {"crop": CROP, "whole": WHOLE}


def numbers(n=10):
    """Images whose every pixel is their own position."""
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 2, 2, 1))
    return ArraySource("numbers", np.ascontiguousarray(images), np.arange(n) % 3)


def train(source, batch_size=4, steps=8, seed=0, **options):
    return TrainBatches(source, batch_size, seed, steps, source.labels(), process=0, processes=1, **options)


def test_every_epoch_shows_every_example_once_in_a_new_order():
    batches = train(numbers(), steps=10)  # 40 examples: four epochs of 10, batches run across their borders
    seen = np.concatenate([batches[step]["index"] for step in range(10)]).reshape(4, 10)
    for epoch in seen:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(10))
    assert len({tuple(epoch) for epoch in seen}) == 4
    np.testing.assert_array_equal(batches[3]["image"][:, 0, 0, 0], batches[3]["index"])
    np.testing.assert_array_equal(batches[3]["label"], batches[3]["index"] % 3)
    assert not np.array_equal(seen[0], [*train(numbers(), seed=1)[0]["index"], *seen[0][4:]])


def test_processes_read_slices_of_the_same_batch(photos):
    source = FolderSource(photos)
    for options in ({"crop_specs": SPECS},):
        one = TrainBatches(source, 8, 0, 3, process=0, processes=1, **options)
        four = [TrainBatches(source, 8, 0, 3, process=p, processes=4, **options) for p in range(4)]
        for step in range(3):
            parts = [part[step] for part in four]
            for view, copy in (("crop", 0), ("crop", 1), ("whole", 0)):
                together = np.concatenate([part["image"][view][copy] for part in parts])
                np.testing.assert_array_equal(together, one[step]["image"][view][copy])
            np.testing.assert_array_equal(np.concatenate([p["index"] for p in parts]), one[step]["index"])


def test_host_crops_have_the_views_shapes_and_differ(photos):
    batch = TrainBatches(FolderSource(photos), 8, 0, 3, crop_specs=SPECS, process=0, processes=1)[0]
    crops, whole = batch["image"]["crop"], batch["image"]["whole"]
    assert [view.shape for view in (*crops, *whole)] == [(8, 12, 12, 3), (8, 12, 12, 3), (8, 16, 16, 3)]
    assert all(view.dtype == np.uint8 for view in (*crops, *whole))
    assert not np.array_equal(*crops)
    # A view's crops do not depend on what other views there are.
    alone = TrainBatches(FolderSource(photos), 8, 0, 3, crop_specs={"crop": CROP}, process=0, processes=1)[0]
    np.testing.assert_array_equal(alone["image"]["crop"], crops)
    assert (batch["label"] == -1).all()


def test_random_boxes_have_the_asked_areas_and_ratios():
    rng = np.random.default_rng(0)
    spec = ViewSpec(size=8, crop_area_min=0.25, crop_area_max=0.5, crop_ratio_min=0.5, crop_ratio_max=2.0)
    boxes = np.array([host.random_box(rng, 200, 200, spec) for _ in range(2000)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 200).all()
    assert (boxes[:, 3] <= 200).all()
    area, ratio = width * height / (200 * 200), width / height
    assert 0.245 < area.min() < 0.27
    assert 0.48 < area.max() < 0.505
    assert abs(area.mean() - 0.375) < 0.01
    assert 0.49 < ratio.min() < 0.55
    assert 1.85 < ratio.max() < 2.05
    assert abs(np.log(ratio).mean()) < 0.02
    whole = host.random_box(rng, 300, 10, ViewSpec(size=8, crop_area_min=0.9))
    assert whole == (143, 0, 156, 10)  # the largest central box of ratio 4/3: no try can succeed


def test_a_large_jpeg_is_reduced_while_decoding_without_visible_change(tmp_path):
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    pixels = np.stack(
        [np.tile(ramp, (512, 1)), np.tile(ramp[:, None], (1, 512)), np.full((512, 512), 99)], -1
    )
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    exact = Image.fromarray(pixels.astype(np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)
    opened = Image.open(tmp_path / "a.jpg")
    ours = host.central_crop(opened, 32, 3)
    assert opened.size == (64, 64)  # 1/8: fewest pixels that still are twice the crop's... or its own size
    assert np.abs(ours.astype(int) - np.asarray(exact).astype(int)).max() <= 4


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("channels", "dtype"), [(1, "uint16"), (3, "uint16"), (5, "uint16"), (5, "uint8"), (2, "uint8")]
)
def test_host_crops_of_deep_and_many_channelled_images_are_those_of_the_device(
    channels, dtype, interpolation
):
    most = np.iinfo(dtype).max
    image = np.random.default_rng(0).integers(0, most, (40, 30, channels), endpoint=True).astype(dtype)
    boxes, sizes = [(3, 5, 27, 33), (0, 0, 30, 40), (4, 2, 9, 8)], [12, 16, 20]
    found = host.crops(
        sources.images.from_array(image), boxes, sizes, [interpolation] * 3, channels, np.dtype(dtype)
    )
    for crop, (left, top, right, bottom), size in zip(found, boxes, sizes):
        assert crop.dtype == dtype
        whole = image / np.float32(most)
        expected = image_ops.resized_crop(whole, top, left, bottom - top, right - left, size, interpolation)
        np.testing.assert_allclose(crop / most, expected, atol=0.51 / most + 2e-6)


def test_crops_of_deep_arrays_keep_their_bits():
    image = np.full((4, 50, 40, 5), [0, 300, 301, 40_000, 65_535], np.uint16)
    source = ArraySource("deep", image)
    batch = TrainBatches(source, 4, 0, 1, crop_specs=SPECS, process=0, processes=1)[0]
    made = [*batch["image"]["crop"], *batch["image"]["whole"]]
    assert [(x.shape, x.dtype) for x in made] == [((4, s, s, 5), np.uint16) for s in (12, 12, 16)]
    for view in made:
        np.testing.assert_array_equal(view, image[:, : view.shape[1], : view.shape[1]])
    batch = EvalBatches(source, 4, size=16, process=0, processes=1)[0]
    np.testing.assert_array_equal(batch["image"], image[:, :16, :16])


def test_evaluation_covers_every_example_once_and_pads():
    batches = EvalBatches(numbers(), 4, process=0, processes=1)
    assert len(batches) == 3
    last = batches[2]
    np.testing.assert_array_equal(last["mask"], [True, True, False, False])
    index = np.concatenate([batches[i]["index"][batches[i]["mask"]] for i in range(3)])
    np.testing.assert_array_equal(index, np.arange(10))
    halves = [EvalBatches(numbers(), 4, process=p, processes=2)[2]["mask"] for p in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), last["mask"])


@pytest.mark.parametrize("workers", [0, 2])
def test_read_ahead_keeps_the_order_from_any_step(photos, workers):
    batches = TrainBatches(FolderSource(photos), 8, 0, 6, crop_specs={"whole": WHOLE}, process=0, processes=1)
    got = list(read_ahead(batches, start=2, workers=workers))
    assert len(got) == 4
    for step, batch in enumerate(got, 2):
        np.testing.assert_array_equal(batch["image"]["whole"], batches[step]["image"]["whole"])
    assert not list(read_ahead(batches, start=6))


READER = """
import pathlib
import sys
from jssl.data.pipeline import TrainBatches, read_ahead
from jssl.data.sources import FolderSource
from tests.data.test_pipeline import WHOLE

if __name__ == "__main__":
    photos, crops = FolderSource(pathlib.Path(sys.argv[1])), {"whole": WHOLE}
    reading = read_ahead(TrainBatches(photos, 8, 0, 600, crop_specs=crops, process=0, processes=1), workers=2)
    next(reading)
    print("reads", flush=True)
    sys.stdin.read()
"""


def test_reading_workers_end_with_a_parent_that_is_killed(photos, tmp_path):
    """They hold the parent's stdout: its end is reached when the last of them has gone."""
    script = tmp_path / "reader.py"
    script.write_text(READER)
    with subprocess.Popen(
        [sys.executable, script, photos],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    ) as parent:
        guard = threading.Timer(HANG, os.killpg, (parent.pid, signal.SIGKILL))
        guard.start()
        try:
            assert parent.stdout.readline() == "reads\n"
            parent.kill()
            assert parent.stdout.read() == ""
            assert guard.is_alive(), "they lived on"
        finally:
            guard.cancel()


def test_the_iterator_resumes_at_the_batch_after_the_one_handed_out(mesh8):
    batches = train(numbers(64), batch_size=8, steps=20)

    def fresh():
        return DeviceIterator(batches, mesh8, BadImages(batches.source, 0.0))

    first = fresh()
    for _ in range(5):
        next(first)
    state = first.get_state()
    expected = [np.asarray(next(first)["index"]) for _ in range(3)]
    second = fresh()
    next(second)
    second.set_state(state)
    for batch in expected:
        np.testing.assert_array_equal(np.asarray(next(second)["index"]), batch)
    assert next(second)["image"].sharding.is_equivalent_to(parallel.batch_sharding(mesh8), 4)
    assert len(list(second)) == 20 - 5 - 4


@pytest.fixture
def damaged(photos):
    (photos / "img05.jpg").write_bytes((photos / "img05.jpg").read_bytes()[:300])  # truncated
    (photos / "img11.jpg").write_bytes(b"this is no image")
    return FolderSource(photos)


def test_unreadable_images_are_replaced_by_the_next_named_and_counted(damaged, caplog):
    batches = TrainBatches(damaged, 8, 0, 6, crop_specs={"whole": WHOLE}, process=0, processes=1)
    good = [batches[step] for step in range(3)]  # one epoch
    used = np.sort(np.concatenate([batch["index"] for batch in good]))
    expected = np.sort([6, 12, *(set(range(24)) - {5, 11})])
    np.testing.assert_array_equal(used, expected)
    bad = np.concatenate([batch["bad"] for batch in good])
    assert sorted(bad[bad >= 0]) == [5, 11]
    np.testing.assert_array_equal(
        batches[1]["image"]["whole"][0], good[1]["image"]["whole"][0]
    )  # deterministic
    counter = BadImages(damaged, max_fraction=0.1)
    with caplog.at_level(logging.WARNING, logger="absl"):
        counter.note(bad)
        counter.note(bad)
    assert len(counter) == 2
    assert sum("img05.jpg" in record.getMessage() for record in caplog.records) == 1
    with pytest.raises(
        UserError, match=r"2 of 24 images are unreadable \(img05.jpg, img11.jpg.*max_bad_fraction"
    ):
        BadImages(damaged, max_fraction=0.05).note(bad)


def test_unreadable_images_are_left_out_of_evaluations(damaged):
    batches = EvalBatches(damaged, 24, size=16, process=0, processes=1)
    np.testing.assert_array_equal(np.flatnonzero(~batches[0]["mask"]), [5, 11])


def test_nothing_readable_is_an_error_not_a_hang(photos):
    source = FolderSource(photos)
    for path in source.paths:  # all lost after the folder was opened
        path.write_bytes(b"")
    batches = TrainBatches(source, 2, 0, 1, crop_specs={"whole": WHOLE}, process=0, processes=1)
    with pytest.raises(UserError, match="no readable image"):
        batches[0]


def test_exif_orientation_is_honoured(photos):
    source = sources.load(str(photos), "train")
    width, height = Image.open(source.paths[4]).size
    assert source.decode(source.open(4), 4).shape == (width, height, 3)
    assert host.upright(source.open(4)).size == (height, width)


def test_grey_files_become_three_channels(photos):
    source = FolderSource(photos)
    pixels = source.decode(source.open(3), 3)
    assert pixels.shape[-1] == 3
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])


def test_every_unreadable_file_has_one_line_in_the_record(tmp_path, photos, caplog):
    for number in range(14):
        (photos / f"img{number:02}.jpg").write_bytes(b"no image")
    source, record = FolderSource(photos), epath.Path(tmp_path / "bad_files.txt")
    for _ in range(2):  # a session, and the one that goes on
        bad = BadImages(source, 1.0, record)
        with caplog.at_level("WARNING", logger="absl"):
            bad.note(np.arange(14))
            bad.note(np.arange(14))
        lines = record.read_text().splitlines()
        assert len(lines) == 14
        assert all(
            line.startswith(f"img{i:02}.jpg: ") and "cannot identify" in line for i, line in enumerate(lines)
        )
    named = [r.getMessage() for r in caplog.records if "unreadable image: " in r.getMessage()]
    assert len(named) == 2 * 10
    assert "more unreadable images are named in" in caplog.text
