"""Every operation on a run's files fails once, in turn: python -m tests.attack [--codes=EIO,KILL] [--every=1] [--embed]

Each is a run of its own, or with --embed an embedding over an earlier file, with that one failure, or a kill instead of
the operation, then the same command without: nothing may be lost, nobody may see a
traceback, and the result must be that of a run at which nothing failed. Resumable: what --log has is not tried again.
"""

import argparse
import errno
import pathlib
import tempfile
import time

from tests import conftest
from tests.commands import called
from tests.holds import KILL, FailingFile
from tests.test_faults import (
    LAST,
    arguments,
    attacked,
    embedding_attacked,
    embedding_operations,
    outcome,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codes", default="EIO,ENOSPC,EACCES,EMFILE,KILL")
    parser.add_argument("--every", type=int, default=1, help="of the operations, each n-th")
    parser.add_argument("--embed", action="store_true", help="embeddings instead of runs")
    parser.add_argument("--log", default="faults.log")
    given = parser.parse_args()
    log = pathlib.Path(given.log)
    done = {tuple(line.split("\t")[:2]) for line in log.read_text().splitlines()} if log.exists() else set()
    conftest.write_digits()
    begin, tried, wrong = time.perf_counter(), 0, 0
    with tempfile.TemporaryDirectory() as name:
        temporary = pathlib.Path(name)
        run, operations = temporary / "run", temporary / "operations"
        status, _, err = called(*arguments(run), holds=[FailingFile(run, LAST, 0, operations)])
        assert status == 0, err
        expected, lines = outcome(run), operations.read_text().splitlines()
        if given.embed:
            lines = embedding_operations(run, temporary / "embedded", temporary / "embedding")
        for code in given.codes.split(","):
            number_of = KILL if code == "KILL" else getattr(errno, code)
            for number in range(0, len(lines), given.every):
                if (code, str(number)) in done:
                    continue
                folder, own_log = temporary / f"{code}_{number}", temporary / "log"
                if given.embed:
                    found = embedding_attacked(run, folder, number, number_of, own_log)
                else:
                    found = attacked(folder, number, number_of, own_log)
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
