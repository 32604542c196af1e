"""Two processes with one device each are one process with two devices: same numbers, same files."""

import contextlib
import json
import signal
import socket

import numpy as np
import pytest
from etils import epath
from PIL import Image

from jssl.monitor import read_lines
from tests.commands import SIMCLR, TIMING, TINY, called, started

STEPS = 40  # processes agree on a stop at every twentieth
TEST_IMAGES = 360


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def two_processes(*arguments):
    """Both processes of a run."""
    address = f"--coordinator=127.0.0.1:{free_port()}"
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                started(*arguments, address, "--num_processes=2", f"--process_id={number}", seconds=400)
            )
            for number in range(2)
        ]


def ends(children):
    """Waits for both; both must exit with 0. Gives what each printed, without gloo's greeting."""
    printed = []
    for child in children:
        lines = child.stdout.read().splitlines()
        printed.append([line for line in lines if not line.startswith("[Gloo]")])
    for child in children:
        assert child.wait() == 0, child.errors()
        assert "Traceback" not in child.errors()
    return printed


def digits(workdir, **changes):
    """The command line of a run on digits."""
    settings = {"total_steps": STEPS, "checkpoint.every_steps": 10, **changes}
    return (
        SIMCLR,
        *TINY,
        *(f"--config.{key}={value}" for key, value in settings.items()),
        f"--workdir={workdir}",
    )


def metrics(folder):
    return read_lines(epath.Path(folder / "metrics.jsonl"))


def same_lines(one, other):
    """Equal keys, and values to 1e-5, of all that is not timing."""
    assert [line["step"] for line in one] == [line["step"] for line in other]
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for key in a.keys() - set(TIMING):
            # Rank and gradient norm are sums of squares; their rounding is relative to their size.
            np.testing.assert_allclose(a[key], b[key], rtol=1e-5, atol=1e-5, err_msg=f"{key} at {a['step']}")


def files(folder):
    """What a user sees in the folder."""
    return sorted(path.name for path in folder.iterdir())


def test_two_processes_stop_together_go_on_and_equal_one_process_of_two_devices(tmp_path):
    with two_processes(*digits(tmp_path / "two")) as children:
        assert f"0 of {STEPS} steps done" in first_line(children[0])
        for child in children:
            child.send_signal(signal.SIGTERM)
        printed = ends(children)
    assert printed[0][-1] == "saved at step 20; run the same command again to go on"
    assert printed[1] == [], "only process 0 prints"
    assert (tmp_path / "two" / "checkpoints" / "20").is_dir()
    with two_processes(*digits(tmp_path / "two")) as children:
        assert f"20 of {STEPS} steps done" in first_line(children[0])
        printed = ends(children)
    assert any(line.startswith("this run") for line in printed[0])
    assert printed[1] == [], "only process 0 prints"

    status, _, err = called(*digits(tmp_path / "one"), devices=2)
    assert status == 0, err
    same_lines(metrics(tmp_path / "one"), metrics(tmp_path / "two"))
    written = [line["step"] for line in metrics(tmp_path / "two")]
    assert written == [1, *range(5, STEPS + 1, 5)], "each once"
    assert files(tmp_path / "one") == files(tmp_path / "two")
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two"))
    assert one.keys() == two.keys()
    accuracies = [key for key in one if "/top" in key]
    assert {"knn/top1", "pixels/knn/top1", "untrained/knn/top1"} <= set(accuracies)
    for key in accuracies:
        assert abs(one[key] - two[key]) <= 1.001 / TEST_IMAGES, key


def first_line(child):
    """The first line that is the run's own."""
    line = child.stdout.readline()
    while line.startswith("[Gloo]"):
        line = child.stdout.readline()
    return line


@pytest.fixture
def photos(tmp_path):
    """PNGs of mixed sizes, cropped on the host; their order and their crops are seen in every loss."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        height, width = rng.integers(16, 40, 2)
        coarse = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        coarse.resize((width, height)).save(folder / f"{number:02}.png")
    return folder


def test_two_processes_see_photos_in_the_order_of_one(photos, tmp_path):
    """20 images and batches of 8: a batch runs on across the border of epochs."""
    changes = {
        "data.name": photos,
        "data.holdout": 0,
        "data.unlabeled.batch_size": 8,
        "evals.batch_size": 8,
        "total_steps": 8,
        "log.every_steps": 1,
    }
    for view in ("first", "second"):
        changes |= {f"data.unlabeled.views.{view}.size": 8, f"data.unlabeled.views.{view}.crop_area_min": 0.2}
    with two_processes(*digits(tmp_path / "two", **changes)) as children:
        printed = ends(children)
    assert printed[1] == []
    status, _, err = called(*digits(tmp_path / "one", **changes), devices=2)
    assert status == 0, err
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert len(one) == 8
    assert len({line["loss"] for line in one}) == 8
    same_lines(one, two)
