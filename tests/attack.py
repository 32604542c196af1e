"""Every operation on a run's files fails once, in turn: python -m tests.attack [--codes=EIO,ENOSPC] [--every=1]

Each is a run of its own with that one failure, then the same command without: nothing may be lost, nobody may see a
traceback, and the result must be that of a run at which nothing failed. Resumable: what --log has is not tried again.
"""

import argparse
import errno
import pathlib
import tempfile
import time

from tests import conftest
from tests.commands import called
from tests.holds import FailingFile
from tests.test_faults import LAST, arguments, attacked, outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codes", default="EIO,ENOSPC,EACCES,EMFILE")
    parser.add_argument("--every", type=int, default=1, help="of the operations, each n-th")
    parser.add_argument("--log", default="faults.log")
    given = parser.parse_args()
    log = pathlib.Path(given.log)
    done = {tuple(line.split("\t")[:2]) for line in log.read_text().splitlines()} if log.exists() else set()
    conftest.write_digits()
    begin, tried, wrong = time.perf_counter(), 0, 0
    with tempfile.TemporaryDirectory() as name:
        temporary = pathlib.Path(name)
        folder, operations = temporary / "whole", temporary / "operations"
        status, _, err = called(*arguments(folder), holds=[FailingFile(folder, LAST, 0, operations)])
        assert status == 0, err
        expected, lines = outcome(folder), operations.read_text().splitlines()
        for code in given.codes.split(","):
            for number in range(0, len(lines), given.every):
                if (code, str(number)) in done:
                    continue
                folder = temporary / f"{code}_{number}"
                found = attacked(folder, number, getattr(errno, code), temporary / "log")
                if not found and outcome(folder) != expected:
                    found = "another result"
                operation = lines[number].replace(name, "")
                with log.open("a") as file:
                    file.write("\t".join([code, str(number), operation, " ".join(found.split())]) + "\n")
                tried, wrong = tried + 1, wrong + bool(found)
    seconds = time.perf_counter() - begin
    print(f"{len(lines)} operations, {tried} faults tried in {seconds:.0f} s, {wrong} wrong outcomes: {log}")


if __name__ == "__main__":
    main()
