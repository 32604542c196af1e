"""The library as others install it: from a wheel, without the checkout."""

import json
import os
import pathlib
import site
import subprocess
import sys
import venv
import zipfile

import pytest

from tests.commands import TINY, environment

ROOT = pathlib.Path(__file__).parents[1]
SMALL = (*TINY[1:], "--config.total_steps=3")  # but for the data: the library has its digits itself


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, ROOT], check=True)
    (found,) = folder.glob("jssl-*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """A fresh environment with the wheel; the packages that it needs are those of this one, the library is not."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder / "bin" / "python"


def called(python, folder, *arguments):
    variables = {key: value for key, value in environment().items() if key != "PYTHONPATH"}
    done = subprocess.run([python, *arguments], cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_every_file_of_the_library(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith("jssl-")}
    there = {
        os.path.relpath(os.path.join(folder, name), ROOT)
        for folder, _, files in os.walk(ROOT / "jssl", followlinks=True)
        for name in files
        if name.endswith((".py", "py.typed", ".jinja"))
    }
    assert names == there
    assert "jssl/configs/simclr.py" in names


def test_the_digits_demo_runs_from_another_folder(python, tmp_path):
    names = "import jssl; print(jssl.__file__); print(jssl.get_config('simclr:cifar10').name)"
    where, name = called(python, tmp_path, "-c", names).split()
    assert not pathlib.Path(where).is_relative_to(ROOT)
    assert name == "simclr_cifar10"
    out = called(python, tmp_path, "-m", "jssl.main", "--config=simclr", *SMALL)
    assert "top-1 accuracy in %" in out
    result = json.loads((tmp_path / "runs" / "simclr_digits" / "result.json").read_text())
    assert result["step"] == 3
