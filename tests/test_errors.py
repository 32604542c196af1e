"""What is said of errors of the system."""

import errno
import os

import pytest

from jssl.errors import TryAgain, UserError, may_pass, of_system


@pytest.mark.parametrize(
    ("code", "advice", "passes"),
    [
        (errno.ENOSPC, "make room and run the same command again", False),
        (errno.EDQUOT, "make room", False),
        (errno.EACCES, "see to its permissions", False),
        (errno.EROFS, "see to its permissions", False),
        (errno.EIO, "it may pass: run the same command again", True),
        (errno.EMFILE, "it may pass", True),
        (errno.ESTALE, "it may pass", True),
        (errno.ENOTDIR, "see to its disk", False),
    ],
)
def test_errors_of_files_say_what_to_do(code, advice, passes):
    error = OSError(code, os.strerror(code), "a\nb/file")
    said = of_system(error)
    assert str(said).startswith(f"a\\nb/file: {os.strerror(code)}: {advice}")
    assert str(of_system(error, "cannot write x")).startswith(f"cannot write x: {os.strerror(code)}: ")
    assert may_pass(error) == passes


def test_what_may_pass_is_found_among_causes():
    later = UserError("cannot be read")
    later.__cause__ = OSError(errno.EIO, "Input/output error")
    assert all(map(may_pass, (later, TryAgain("later"), MemoryError())))
    assert not any(map(may_pass, (UserError("a typo"), FileNotFoundError(errno.ENOENT, "No such file"))))
