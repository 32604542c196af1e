"""Processes with one device each are one with all of them: same numbers, same files, whatever happens to them."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from etils import epath
from PIL import Image

import jssl
from jssl.errors import UserError
from jssl.parallel import distributed
from jssl.parallel.distributed import Settings, settings
from jssl.parallel.heartbeat import TRY_AGAIN
from jssl.train.metrics_file import read_lines
from tests.commands import DIGITS, HANG, ROOT, SIMCLR, TIMING, TINY, as_file, called, environment, started
from tests.conftest import tiny
from tests.holds import Hold, wait_for
from tests.runs.test_stages import get

STEPS = 40
STEP = "jssl.train.monitor:Monitor.step"
TEST_IMAGES = 360


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def processes(count, *arguments, holds=(), silence=300):
    """All processes of a run, each with its hold or none; a slow machine may keep one silent for some seconds."""
    together = (
        f"--coordinator=127.0.0.1:{free_port()}",
        f"--num_processes={count}",
        f"--peer_timeout={silence}",
    )
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                started(*arguments, *together, f"--process_id={number}", holds=holds[number : number + 1])
            )
            for number in range(count)
        ]


def ends(children):
    """Waits for all; all must exit with 0. Gives what each printed, without gloo's greeting."""
    printed = []
    for child in children:
        lines = child.stdout.read().splitlines()
        printed.append([line for line in lines if not line.startswith("[Gloo]")])
    for child in children:
        assert child.wait() == 0, child.errors()
        assert "Traceback" not in child.errors()
    return printed


def command(workdir, data, **changes):
    """The command line of a run."""
    settings = {
        "data.name": data,
        "total_steps": STEPS,
        "checkpoint.every_steps": 10,
        "evals.baselines": True,
        "evals.health.enabled": data != DIGITS,  # with the photos, which takes fewer sessions
        **changes,
    }
    return (
        SIMCLR,
        *TINY,
        *(f"--config.{key}={value}" for key, value in settings.items()),
        f"--workdir={workdir}",
    )


def metrics(folder):
    return read_lines(epath.Path(folder / "metrics.jsonl"))


def by_one_and_by_two(config, tmp_path):
    """The metrics of a config run by one process of two devices, in one/, and by two processes, in two/."""
    command = as_file(config, tmp_path / "config.py")
    with processes(2, command, f"--workdir={tmp_path / 'two'}") as children:
        ends(children)
    status, _, err = called(command, f"--workdir={tmp_path / 'one'}", devices=2)
    assert status == 0, err
    return metrics(tmp_path / "one"), metrics(tmp_path / "two")


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


def finished(folder):
    """Steps of the finished checkpoints."""
    return sorted(int(path.name) for path in (folder / "checkpoints").glob("*") if path.name.isdigit())


def begins(child):
    """The steps that a session finds done."""
    line = child.read_until("steps done")
    found = re.search(rf"; (\d+) of {STEPS} steps done$", line)
    assert found, f"{line}{child.errors() if not line else ''}"
    return int(found[1])


def killed(folder, data, count, victim):
    """A session that loses a process after its first checkpoint: the others say so and end; gives where it began."""
    before = finished(folder)[-1] if finished(folder) else 0
    saved = before // 10 * 10 + 10
    hold = Hold(STEP, folder.parent / f"kill_{victim}_of_{count}", f" {saved + 5}$")
    # Between two collectives a death may be silent: then the others wait for as long as a process may be.
    with processes(count, *command(folder, data), holds=[hold] * count, silence=30) as children:
        begin = begins(children[0])
        hold.wait(children[victim])
        wait_for(children[victim], lambda: finished(folder)[-1:] == [saved])
        children[victim].send_signal(signal.SIGKILL)
        hold.release()
        for number, child in enumerate(children):
            if number == victim:
                assert child.wait() == -signal.SIGKILL, f"ended by itself: {child.errors()}"
                continue
            assert child.wait() == 75, child.errors()
            last = child.errors().splitlines()[-1]
            assert last.startswith("jssl: another process of this run has died"), child.errors()
            assert "run the same command again to go on from the last checkpoint" in last
            assert child.errors().count("jssl: ") == 1
            assert "Traceback" not in child.errors()
    return begin


def test_killed_stopped_and_on_other_numbers_of_hosts_a_run_equals_one_never_stopped(tmp_path):
    """2 processes, 0 is killed; 2, stopped; 4, another is killed; 2 to the end. And 1 without a stop."""
    folder = tmp_path / "many"
    assert killed(folder, DIGITS, 2, victim=0) == 0
    intact = finished(folder)[-1]
    holds = [Hold(STEP, tmp_path / f"stop_{number}", f" {intact + 1}$") for number in range(2)]
    with processes(2, *command(folder, DIGITS), holds=holds) as children:
        assert begins(children[0]) == intact
        for child, hold in zip(children, holds):
            hold.wait(child)
        children[1].send_signal(signal.SIGTERM)
        for hold in holds:
            hold.release()
        printed = ends(children)
    together = finished(folder)[-1]
    assert together == intact + 3, "all stop two steps after that in which one was told"
    assert printed[0][-1] == f"saved at step {together}; run the same command again to go on"
    assert printed[1] == [], "only process 0 prints"
    assert killed(folder, DIGITS, 4, victim=2) == together
    assert together < finished(folder)[-1] < STEPS
    with processes(2, *command(folder, DIGITS)) as children:
        assert begins(children[0]) == finished(folder)[-1]
        printed = ends(children)
    assert any(line.startswith("this run") for line in printed[0])
    assert printed[1] == [], "only process 0 prints"

    status, _, err = called(*command(tmp_path / "one", DIGITS), devices=2)
    assert status == 0, err
    same_lines(metrics(tmp_path / "one"), metrics(folder))
    written = [line["step"] for line in metrics(folder)]
    assert written == [1, *range(5, STEPS + 1, 5)], "each once"
    assert files(tmp_path / "one") == files(folder)
    one, many = (json.loads((path / "result.json").read_text()) for path in (tmp_path / "one", folder))
    assert one.keys() == many.keys()
    accuracies = [key for key in one if "/top" in key]
    assert {"knn/top1", "pixels/knn/top1", "untrained/knn/top1"} <= set(accuracies)
    for key in accuracies:
        assert abs(one[key] - many[key]) <= 1.001 / TEST_IMAGES, key


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


def test_processes_see_photos_in_the_order_of_one(photos, tmp_path):
    """20 images and batches of 8: a batch runs on across the border of epochs."""
    changes = {
        "data.holdout": 0,
        "data.unlabeled.batch_size": 8,
        "evals.batch_size": 8,
        "total_steps": 8,
        "log.every_steps": 1,
    }
    for view in ("first", "second"):
        changes |= {f"data.unlabeled.views.{view}.size": 8, f"data.unlabeled.views.{view}.crop_area_min": 0.2}
    done = subprocess.run(
        [
            "launch/local.sh",
            f"--logs={tmp_path / 'logs'}",
            "2",
            *command(tmp_path / "two", photos, **changes),
        ],
        cwd=ROOT,
        env=environment(PYTHON=sys.executable),
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert done.returncode == 0, done.stderr
    assert "step 8/8" in done.stdout
    (log,) = (tmp_path / "logs").iterdir()
    assert log.name == "process-1.log"
    assert all(re.match(r"\[Gloo\]|W\d{4} |warning: ", line) for line in log.read_text().splitlines()), (
        log.read_text()
    )
    status, _, err = called(*command(tmp_path / "one", photos, **changes), devices=2)
    assert status == 0, err
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert len(one) == 8
    assert len({line["loss"] for line in one}) == 8
    same_lines(one, two)


def test_processes_cluster_all_images_as_one(tmp_path):
    """Labels lie split over the processes, and so do the images of an extraction."""
    config = tiny(jssl.get_config("deepcluster_v2"))
    config.data.name, config.log.every_steps = str(DIGITS), 1
    config.data.train = "train[:160]"
    config.method.reassign_every, config.evals.linear.enabled = "3 steps", False
    one, two = by_one_and_by_two(config, tmp_path)
    assert [line["step"] for line in one if "clusters/entropy" in line] == [1, 4]
    same_lines(one, two)


def test_processes_learn_from_two_streams_as_one(tmp_path):
    """FlexMatch remembers the pseudo-label of every unlabelled image, in rows that are split over the processes."""
    config = get("flexmatch")
    config.data.name, config.log.every_steps = str(DIGITS), 1
    config.evals.every_steps = 3
    one, two = by_one_and_by_two(config, tmp_path)
    assert any("pseudo_label/top1" in line for line in one)
    assert len({line["flexmatch/loss"] for line in one if "loss" in line}) > 1
    same_lines(one, two)


@pytest.mark.parametrize(
    ("flags", "environment", "expected"),
    [
        ((None, None, None), {}, None),
        (("auto", None, None), {}, "auto"),
        ((None, None, None), {"JSSL_COORDINATOR": "auto"}, "auto"),
        (("host:8476", 4, 0), {}, Settings("host", 8476, 4, 0)),
        ((None, None, None), {"JSSL_COORDINATOR": "[::1]:80", "JSSL_NUM_PROCESSES": "2", "JSSL_PROCESS_ID": "1"},
         Settings("[::1]", 80, 2, 1)),
        ((None, None, 0), {"JSSL_COORDINATOR": "h:80", "JSSL_NUM_PROCESSES": "2", "JSSL_PROCESS_ID": "1"},
         Settings("h", 80, 2, 0)),
    ],
)  # fmt: skip
def test_flags_win_over_the_environment(flags, environment, expected):
    assert settings(*flags, environment) == expected


@pytest.mark.parametrize(
    ("flags", "environment", "words"),
    [
        (("host:80", None, None), {}, "belong together"),
        ((None, 2, 0), {}, "belong together"),
        ((None, None, None), {"JSSL_PROCESS_ID": "0"}, "belong together"),
        (("host", 2, 0), {}, "--coordinator=host must be HOST:PORT"),
        (("host:99999", 2, 0), {}, "must be HOST:PORT"),
        (("host:80", 0, 0), {}, "--num_processes=0 must be at least 1"),
        (("host:80", 2, 2), {}, "--process_id=2 must be from 0 to 1"),
        (("host:80", 2, -1), {}, "--process_id=-1 must be from 0 to 1"),
        (("host:80", 2, None), {"JSSL_PROCESS_ID": "one"}, "--process_id=one must be from 0 to 1"),
    ],
)
def test_settings_that_do_not_fit_are_the_users_mistake(flags, environment, words):
    with pytest.raises(UserError, match=re.escape(words)):
        settings(*flags, environment)


def test_a_mistake_that_one_process_finds_ends_all(tmp_path):
    """Only process 0 looks into the folder."""
    (tmp_path / "file").write_text("of somebody")
    with processes(2, SIMCLR, *TINY, "--config.total_steps=5", f"--workdir={tmp_path}") as children:
        said = []
        for child in children:
            assert child.wait() == 2, child.errors()
            (line,) = (line for line in child.errors().splitlines() if line.startswith("jssl: "))
            said.append(line)
            assert "Traceback" not in child.errors()
    assert "is not empty and holds no run" in said[0]
    assert said[1] == said[0].replace("jssl: ", "jssl: process 0 has stopped: ")


def test_processes_with_other_settings_do_not_train_together(tmp_path):
    together = (
        f"--coordinator=127.0.0.1:{free_port()}",
        "--num_processes=2",
        f"--workdir={tmp_path / 'run'}",
    )
    command = (SIMCLR, *TINY, "--config.total_steps=5", *together)
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(
                started(*command, f"--config.optim.lr=0.{number + 1}", f"--process_id={number}")
            )
            for number in range(2)
        ]
        said = []
        for child in children:
            assert child.wait() == 2, child.errors()
            said += [line for line in child.errors().splitlines() if line.startswith("jssl: ")]
    difference = "--config.optim.lr differs among the processes: 0.1 in process 0, 0.2 in process 1"
    assert len(said) == 2
    assert said[0].startswith(f"jssl: process 1 has stopped: {difference}")
    assert said[1].startswith(f"jssl: {difference}")
    assert not (tmp_path / "run").exists()


def test_nobody_waits_for_ever_for_the_others():
    """Process 1 without a coordinator, process 0 without the others, a port that is taken, no cluster at all."""
    port = free_port()
    for arguments, words, expected in [
        (
            (f"--coordinator=127.0.0.1:{port}", "--num_processes=2", "--process_id=1"),
            f"the coordinator 127.0.0.1:{port} did not answer for 2 s",
            TRY_AGAIN,
        ),
        (
            (f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2", "--process_id=0"),
            "not all of the 2 processes came within 2 s",
            TRY_AGAIN,
        ),
        (("--coordinator=auto",), "--coordinator=auto finds no cluster", 2),
    ]:
        status, out, err = called(SIMCLR, "--start_timeout=2", *arguments)
        assert status == expected, err
        assert out == ""
        (line,) = err.splitlines()
        assert line.startswith("jssl: ")
        assert words in line
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="cannot listen on port"):
            distributed.initialize(f"127.0.0.1:{taken.getsockname()[1]}", 2, 0)


def test_processes_read_captions_as_one(tmp_path):
    """Every process learns the same tokeniser and sees the captions of its own rows; towers are evaluated by all."""
    config = get("clip")
    config.log.every_steps, config.evals.every_steps = 1, 3
    one, two = by_one_and_by_two(config, tmp_path)
    assert any("val/zero_shot/top1" in line for line in one)
    same_lines(one, two)
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two")]
    for key in ("zero_shot/top1", "retrieval/text_to_image/median_rank"):
        assert results[0][key] == pytest.approx(results[1][key], abs=1e-3)
    assert (tmp_path / "two" / "tokenizer.json").exists()
