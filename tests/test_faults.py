"""Files that fail at some moment: nothing is lost, nobody sees a traceback, and the same command goes on."""

import errno
import json
import random

import numpy as np
import pytest
from etils import epath

from jssl.train.metrics_file import read_lines
from tests.commands import SIMCLR, TIMING, TINY, called, numbers
from tests.holds import KILL, FailingFile

SEED = 7
TOTAL = 20
TRIED = 1  # of all operations, in the suite; tests/attack.py tries each
LAST = 10**9  # none fails


def arguments(folder):
    return (
        SIMCLR,
        *TINY,
        f"--config.total_steps={TOTAL}",
        "--config.evals.every_steps=10",
        f"--workdir={folder}",
    )


def outcome(folder):
    """What a run leaves, without what depends on the clock."""
    result = json.loads((folder / "result.json").read_text())
    volatile = {*TIMING, "seconds", "train_seconds", "compile_seconds"}
    values = {name: value for name, value in result.items() if name not in volatile}
    return values, numbers(read_lines(epath.Path(folder / "metrics.jsonl")))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run leaves at which nothing failed, its operations on files, and its folder."""
    folder, log = tmp_path_factory.mktemp("whole") / "run", tmp_path_factory.mktemp("log") / "log"
    status, _, err = called(*arguments(folder), holds=[FailingFile(folder, LAST, 0, log)])
    assert status == 0, err
    return outcome(folder), log.read_text().splitlines(), folder


def attacked(folder, number, code, log):
    """Runs with one failing operation, then without; what was wrong with it, '' for nothing."""
    status, _, err = called(*arguments(folder), holds=[FailingFile(folder, number, code, log)])
    if "Traceback" in err:
        return f"traceback: {err}"
    if status not in (0, 2, 75, code):
        return f"exit status {status}: {err}"
    if status > 0 and not err.splitlines()[-1].startswith("jssl: "):
        return f"no line that says why: {err}"
    status, _, err = called(*arguments(folder))
    return f"the same command then ends with {status}: {err}" if status else ""


def embeds(run, out, **options):
    """Embeds some digits with a run, over what there is."""
    given = (f"--workdir={run}", "--data=digits", "--split=test[:9]", f"--out={out}", "--overwrite")
    return called(*given, module="jssl.embed", **options)


def embedding_attacked(run, folder, number, code, log):
    """Embeds over an earlier file with one failing operation, then without; what was wrong with it, '' for nothing."""
    folder.mkdir()
    out = folder / "features.npz"
    np.savez(out, features=np.zeros(3))
    status, _, err = embeds(run, out, holds=[FailingFile(folder, number, code, log)])
    if "Traceback" in err or status not in (0, 2, 75, code):
        return f"exit status {status}: {err}"
    with np.load(out) as there:
        if len(there["features"]) != (9 if status == 0 else 3):
            return f"exit status {status}, and the file has {len(there['features'])} rows"
    status, _, err = embeds(run, out)
    with np.load(out) as there:
        return (
            ""
            if status == 0 and len(there["features"]) == 9
            else f"the same command then ends with {status}: {err}"
        )


def embedding_operations(run, folder, log):
    """The operations on files of an embedding at which nothing fails."""
    assert not embedding_attacked(run, folder, LAST, 0, log)
    return log.read_text().splitlines()


def test_an_embedding_that_is_killed_leaves_what_there_was(whole, tmp_path):
    run, log = whole[2], tmp_path / "log"
    operations = embedding_operations(run, tmp_path / "whole", log)
    renames = [number for number, line in enumerate(operations) if "os.rename" in line]
    wrong = embedding_attacked(run, tmp_path / "killed", renames[-1], KILL, log)
    assert not wrong, wrong


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
def test_a_file_that_fails_once_costs_nothing(code, whole, tmp_path):
    expected, operations, _ = whole
    rng = random.Random(SEED + code)
    for number in sorted(rng.sample(range(len(operations)), TRIED)):
        folder = tmp_path / str(number)
        wrong = attacked(folder, number, code, tmp_path / "log")
        assert not wrong, (operations[number], wrong)
        assert outcome(folder) == expected, operations[number]
