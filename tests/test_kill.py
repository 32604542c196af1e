"""A run that is killed again and again, wherever it is, ends as one that was never stopped."""

import json
import os
import random
import re
import resource
import signal

import jax
import numpy as np
import pytest
from etils import epath

from jssl.runs import workdir
from jssl.runs.restore import open_run
from jssl.train.metrics_file import read_lines, truncate
from tests.commands import DIGITS, SIMCLR, TIMING, TINY, as_file, called, numbers, started
from tests.conftest import tiny_config
from tests.holds import Hold, wait_for
from tests.runs.test_stages import get

SEED = 20240
TOTAL = 50
# Where a session stops to be killed: a function and, where it is called again and again, which call.
COMMIT = "orbax.checkpoint._src.path.atomicity:AtomicRenameTemporaryPath.finalize"
BATCH = "jssl.data.pipeline:DeviceStreams.__next__"
STEP, LINE = "jssl.train.monitor:Monitor.step", "jssl.train.monitor:Monitor.write"
STARTING = (
    ("jssl.runs.workdir:prepare", ""),
    ("jssl.train.loop:start_or_resume", ""),
    ("jax.stages:Lowered.compile", ""),
)
TRAINING = ((STEP, " {step}$"), (LINE, " {line}$"), ("jssl.train.checkpoint:Checkpointer.save", " {save}$"))
SAVING = (  # with nothing in place, with only one of the two parts, with all but the last name
    (COMMIT, r'"extra\..*checkpoints/{save}\.'),
    (COMMIT, r'"state\..*checkpoints/{save}\.'),
    (COMMIT, r'"{save}\.'),
)


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """A run without evaluations, on images that are quickly loaded; --workdir comes last."""
    path = tmp_path_factory.mktemp("data") / "images.npz"
    images = np.random.default_rng(SEED).integers(0, 256, (72, 8, 8, 1), dtype=np.uint8)
    np.savez(path, images=images)
    return (
        SIMCLR,
        *TINY,
        f"--config.total_steps={TOTAL}",
        f"--config.data.name={path}",
        "--config.data.holdout=0",
    )


@pytest.fixture(scope="module")
def never_stopped(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("never_stopped") / "run"
    status, out, err = called(*command, f"--workdir={folder}")
    assert status == 0, err
    assert first_line(out) == 0
    return folder


def first_line(text):
    """The steps that are done at the start of a session."""
    found = re.search(r"; (\d+) of (\d+) steps done$", text, re.MULTILINE)
    assert found, text
    assert int(found[2]) == TOTAL
    return int(found[1])


def finished(folder):
    """Steps of the finished checkpoints."""
    return sorted(int(path.name) for path in (folder / "checkpoints").glob("*") if path.name.isdigit())


def saving(folder):
    """Whether a checkpoint is being written, or was when its process died."""
    return any((folder / "checkpoints").glob("*orbax-checkpoint-tmp*"))


def last_line(folder):
    """The step of the last line of metrics.jsonl."""
    return read_lines(epath.Path(folder / "metrics.jsonl"))[-1]["step"]


def equal_runs(one, other):
    """The same state bit for bit, the same lines, the same result."""
    a, b = (jax.device_get(open_run(folder)[2]) for folder in (one, other))
    assert int(a.step) == TOTAL
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert x.tobytes() == y.tobytes(), path
    metrics = [numbers(read_lines(epath.Path(folder / "metrics.jsonl"))) for folder in (one, other)]
    assert len(metrics[0]) == 1 + TOTAL / 5  # the first step, and every fifth
    assert metrics[0] == metrics[1]
    volatile = {*TIMING, "seconds", "train_seconds", "compile_seconds"}
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, other)]
    assert results[0].keys() == results[1].keys()
    assert {k: v for k, v in results[0].items() if k not in volatile} == {
        k: v for k, v in results[1].items() if k not in volatile
    }


def test_killed_at_many_places_a_run_ends_as_if_never_stopped(command, never_stopped, tmp_path):
    """While it starts, trains and saves, at steps drawn at random; whoever goes on begins at the last checkpoint."""
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    places = [*STARTING, *TRAINING, *SAVING]
    rng.shuffle(places)
    folder = tmp_path / "run"
    for number, (target, call) in enumerate(places):
        begin = finished(folder)[-1] if finished(folder) else 0
        save = begin + rng.choice((5, 10))
        call = call.format(step=save + rng.randint(1, 5), line=save + 5, save=save)
        hold = Hold(target, tmp_path / f"kill{number}", call)
        with started(*command, f"--workdir={folder}", holds=[hold]) as child:
            hold.wait(child)
            if (target, call) not in STARTING:
                assert first_line(child.read_until("steps done")) == begin, (
                    "goes on from the last finished checkpoint"
                )
                assert child.read_until(f"step {begin + 5 if begin else 1}/{TOTAL}  epoch")
            if target == COMMIT:  # the training goes on meanwhile, up to the next save
                wait_for(child, lambda save=save: last_line(folder) >= save + 5)
                assert saving(folder)
            child.send_signal(signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL, f"ended by itself: {child.errors()}"
        last = finished(folder)[-1:]
        print(f"kill {number + 1} at {target} {call}: began at {begin}, finished {last}")
        if target == COMMIT:
            assert saving(folder)
            assert last < [save]
    last = finished(folder)[-1]
    assert 0 < last < TOTAL
    status, out, err = called(*command, f"--workdir={folder}")
    assert status == 0, err
    assert first_line(out) == last
    assert not saving(folder), "what killed sessions left of checkpoints is cleaned up"
    equal_runs(folder, never_stopped)


def test_killed_in_each_stage_a_sequence_ends_as_if_never_stopped(tmp_path):
    """A teacher, and a student of its pseudo-labels: each is killed between two checkpoints."""
    config = get("self_training")
    for own in config.stages.values():
        own.data.name, own.total_steps, own.checkpoint.every_steps = str(DIGITS), 20, 5
    command = as_file(config, tmp_path / "stages.py")
    folder = tmp_path / "run"
    for stage, before in zip(config.order, (None, "teacher")):
        once = before and folder / before / "result.json"
        hold = Hold(STEP, tmp_path / f"kill_{stage}", " 13$", once)
        with started(command, f"--workdir={folder}", holds=[hold]) as child:
            hold.wait(child)
            child.send_signal(signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL, f"ended by itself: {child.errors()}"
        assert 0 < finished(folder / stage)[-1] < 20
        assert not (folder / stage / "result.json").exists()
    made = (folder / "student.pseudo_labels.npz").read_bytes()
    for place in (folder, tmp_path / "never_stopped"):
        status, _, err = called(command, f"--workdir={place}")
        assert status == 0, err
    assert (folder / "student.pseudo_labels.npz").read_bytes() == made
    states = [
        jax.device_get(open_run(place / "student")[2]) for place in (folder, tmp_path / "never_stopped")
    ]
    jax.tree.map(np.testing.assert_array_equal, *states)
    for stage in config.order:
        one, other = (
            numbers(read_lines(epath.Path(place / stage / "metrics.jsonl")))
            for place in (folder, tmp_path / "never_stopped")
        )
        assert one == other


def one_error(status, err):
    """The only line on stderr that is not a warning."""
    assert status == 2, err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1, err
    assert lines[0].startswith("jssl: ")
    return lines[0]


def limit_files(child, size):
    """No file of the child may grow beyond a size any more: to it, the disk is full."""
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (size, size))


def test_a_run_outlives_a_full_disk_and_a_sigterm(command, never_stopped, tmp_path):
    """The limit lets metrics.jsonl grow, but not a checkpoint be written."""
    folder = tmp_path / "run"
    hold = Hold(STEP, tmp_path / "saved_once", " 9$")
    with started(*command, f"--workdir={folder}", holds=[hold]) as child:
        assert first_line(child.read_until("steps done")) == 0
        hold.wait(child)
        wait_for(child, lambda: finished(folder))
        limit_files(child, 8_000)
        hold.release()
        child.stdout.read()
        status, err = child.wait(), child.errors()
    intact = finished(folder)[-1]
    assert intact == 5
    line = one_error(status, err)
    assert f"last intact checkpoint: {intact}: make room and" in line
    assert "File too large" in line, "says what the system said"
    assert str(folder) in line
    assert "run the same command again" in line

    hold = Hold(BATCH, tmp_path / "no_step_yet")
    with started(*command, f"--workdir={folder}", holds=[hold]) as child:
        assert first_line(child.read_until("steps done")) == intact
        hold.wait(child)
        child.send_signal(signal.SIGTERM)  # it is noted before the first step, too
        hold.release()
        rest = child.stdout.read()
        assert child.wait() == 0, child.errors()
    stopped = re.search(r"^saved at step (\d+); run the same command again to go on$", rest, re.MULTILINE)
    assert stopped, rest
    step = int(stopped[1])
    assert step == intact + 1
    assert finished(folder)[-1] == step

    status, out, err = called(*command, f"--workdir={folder}")
    assert status == 0, err
    assert first_line(out) == step
    equal_runs(folder, never_stopped)


def test_a_full_disk_while_metrics_are_written_is_one_line_too(command, tmp_path):
    folder = tmp_path / "run"
    hold = Hold(BATCH, tmp_path / "no_step_yet")
    with started(*command, f"--workdir={folder}", holds=[hold]) as child:
        hold.wait(child)
        limit_files(child, 100)
        hold.release()
        child.stdout.read()
        line = one_error(child.wait(), child.errors())
    assert "File too large" in line
    assert str(folder) in line


def test_a_kill_before_the_config_is_whole_does_not_lock_the_folder(tmp_path):
    """The kill comes between the writing of a part and its renaming to config.json."""
    (tmp_path / "run").mkdir()
    part = tmp_path / "run" / ".config.json.k3x.part"
    part.write_text('{"name": ')
    workdir.prepare(epath.Path(tmp_path / "run"), tiny_config())
    assert not part.exists()
    assert workdir.read_config(epath.Path(tmp_path / "run")).to_dict() == tiny_config().to_dict()


def test_a_kill_while_metrics_are_cut_back_loses_no_line(tmp_path):
    """A resumed session drops later lines: in a new file that takes the old one's place, never in the old one."""
    path, old = epath.Path(tmp_path / "metrics.jsonl"), epath.Path(tmp_path / "old")
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (5, 10, 15)))
    os.link(path, old)
    truncate(path, 10)
    assert [line["step"] for line in read_lines(path)] == [5, 10]
    assert [line["step"] for line in read_lines(old)] == [5, 10, 15]


GO_ON = "run the same command again to go on"


@pytest.mark.parametrize(
    ("number", "target", "call", "says"),
    [
        (signal.SIGINT, "jssl.runs.workdir:prepare", "", f"stopped; {GO_ON}"),
        (signal.SIGINT, STEP, " 7$", f"saved at step 7; {GO_ON}"),
        (signal.SIGTERM, "jssl.runs.workdir:write_json", "result.json", f"saved at step {TOTAL}; {GO_ON}"),
    ],
    ids=["before it trains", "Ctrl-C", "last file"],
)
def test_a_signal_stops_in_one_line_and_the_same_command_goes_on(
    command, never_stopped, tmp_path, number, target, call, says
):
    folder = tmp_path / "run"
    hold = Hold(target, tmp_path / "held", call)
    with started(*command, f"--workdir={folder}", holds=[hold]) as child:
        hold.wait(child)
        child.send_signal(number)
        hold.release()
        out = child.stdout.read()
        assert child.wait() == 0, child.errors()
        assert "Traceback" not in child.errors()
    assert out.splitlines()[-1] == says
    status, _, err = called(*command, f"--workdir={folder}")
    assert status == 0, err
    equal_runs(folder, never_stopped)


def test_a_signal_between_stages_stops_and_goes_on(tmp_path):
    config = get("self_training")
    for own in config.stages.values():
        own.data.name, own.total_steps = str(DIGITS), 5
    command, folder = as_file(config, tmp_path / "stages.py"), tmp_path / "run"
    hold = Hold("jssl.runs.stages:pseudo_labelled", tmp_path / "held")
    with started(command, f"--workdir={folder}", holds=[hold]) as child:
        hold.wait(child)
        child.send_signal(signal.SIGTERM)
        out = child.stdout.read()
        assert child.wait() == 0, child.errors()
    assert out.splitlines()[-1] == f"stopped; {GO_ON}"
    status, _, err = called(command, f"--workdir={folder}")
    assert status == 0, err
    assert (folder / "result.json").exists()
