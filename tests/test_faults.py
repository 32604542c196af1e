"""Files that fail at some moment: nothing is lost, nobody sees a traceback, and the same command goes on."""

import errno
import json
import random

import pytest
from etils import epath

from jssl.train.metrics_file import read_lines
from tests.commands import SIMCLR, TIMING, TINY, called, numbers
from tests.holds import FailingFile

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
    """What a run leaves at which nothing failed, and its operations on files."""
    folder, log = tmp_path_factory.mktemp("whole") / "run", tmp_path_factory.mktemp("log") / "log"
    status, _, err = called(*arguments(folder), holds=[FailingFile(folder, LAST, 0, log)])
    assert status == 0, err
    return outcome(folder), log.read_text().splitlines()


def attacked(folder, number, code, log):
    """Runs with one failing operation, then without; what was wrong with it, '' for nothing."""
    status, _, err = called(*arguments(folder), holds=[FailingFile(folder, number, code, log)])
    if "Traceback" in err:
        return f"traceback: {err}"
    if status not in (0, 2, 75):
        return f"exit status {status}: {err}"
    if status and not err.splitlines()[-1].startswith("jssl: "):
        return f"no line that says why: {err}"
    status, _, err = called(*arguments(folder))
    return f"the same command then ends with {status}: {err}" if status else ""


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
def test_a_file_that_fails_once_costs_nothing(code, whole, tmp_path):
    expected, operations = whole
    rng = random.Random(SEED + code)
    for number in sorted(rng.sample(range(len(operations)), TRIED)):
        folder = tmp_path / str(number)
        wrong = attacked(folder, number, code, tmp_path / "log")
        assert not wrong, (operations[number], wrong)
        assert outcome(folder) == expected, operations[number]
