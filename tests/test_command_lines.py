"""The command lines as users type them: mistakes are one line that helps, good ones do what they say."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.commands import DIGITS, HANG, ROOT, SIMCLR, TINY, called, environment
from tests.holds import Forbidden

STEPS = 10


def refused(*arguments, **options):
    """Runs a command line that must be refused; gives what the one line says."""
    status, out, err = called(*arguments, **options)
    assert status == 2, err
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("jssl: ")
    return err.removeprefix("jssl: ").rstrip()


# What is said must name what was wrong and what to do: both are searched for.
TYPOS = {
    "no config": ([], ["--config is missing", "--help"]),
    "no such config file": (["--config=configs/nowhere.py"], ["configs/nowhere.py", "no such file|no file|not"]),
    "a config file mistyped": (["--config=configs/simlcr.py"], ["there is no file", "did you mean --config=simclr"]),
    "a key without its section": ([SIMCLR, "--config.batch_size=1"], [r"did you mean .*data\.unlabeled\.batch_size"]),
    "no such preset": ([f"{SIMCLR}:nonsense"], ["'nonsense'", "digits", "cifar10", "imagenet", "folder"]),
    "a preset without a name": (["--config=simclr:"], ["unknown preset ''", "digits"]),
    "no such key": ([SIMCLR, "--config.optim.lrr=.3"], [r"optim\.lrr", r"did you mean .*\blr\b"]),
    "no such key of a method": ([SIMCLR, "--config.method.temprature=1"], ["temprature", "mean .*temperature"]),
    "no number": ([SIMCLR, "--config.optim.lr=abc"], [r"optim\.lr\b", "abc"]),
    "no integer": ([SIMCLR, "--profile=x"], ["--profile", "'?x'?"]),
    "override before config": (["--config.seed=1", SIMCLR], ["--config.seed", "before"]),
    "unknown flag": ([SIMCLR, "--wrkdir=x"], ["wrkdir", "did you mean.* workdir"]),
    "stray argument": ([SIMCLR, "stray"], ["'stray'", "--help"]),
    "only num_processes": ([SIMCLR, "--num_processes=2"], ["--coordinator", "--num_processes", "--process_id"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", TYPOS)
def test_a_mistake_on_the_command_line_is_one_helpful_line(mistake):
    arguments, words = TYPOS[mistake]
    said = refused(*arguments)
    for word in words:
        assert re.search(word, said, re.IGNORECASE), f"{word!r} is not in {said!r}"


# These are noticed when the run begins.
MISTAKES = {
    "two lengths": (["--config.total_steps=5"], ["total_steps=5", "total_epochs=100", "set all but one to 0"]),
    "no such folder of images": (["--config.data.name=/nowhere"], ["/nowhere", "there is no folder"]),
    "no such encoder": (["--config.encoder.name=resnet19"], ["'resnet19'", "did you mean 'resnet18'"]),
    "no tuple": (["--config.evals.per_class=abc"], [r"evals\.per_class", "abc"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_config_is_one_helpful_line_and_makes_no_folder(mistake, tmp_path):
    arguments, words = MISTAKES[mistake]
    said = refused(SIMCLR, *arguments, f"--workdir={tmp_path / 'run'}")
    for word in words:
        assert re.search(word, said, re.IGNORECASE), f"{word!r} is not in {said!r}"
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_downloaded_are_one_line_soon(tmp_path):
    """Nothing is prepared and there is no network: a proxy that nobody serves stands for that."""
    nobody = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    said = refused(
        f"{SIMCLR}:cifar10", f"--workdir={tmp_path / 'run'}", TFDS_DATA_DIR=str(tmp_path / "tfds"), **nobody
    )
    assert "cifar10 is not prepared" in said
    assert "TFDS_DATA_DIR" in said
    assert not (tmp_path / "run").exists()


def test_a_workdir_that_is_a_file_is_refused_and_stays(tmp_path):
    (tmp_path / "mine").write_text("mine")
    said = refused(SIMCLR, f"--workdir={tmp_path / 'mine'}")
    assert "is a file: choose a folder" in said
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--workdir=FOLDER is missing"),
        (["--workdir={empty}"], r"holds no run: there is no config\.json"),
        (["--workdir={run}", "--config.optim.lr=1"], r"only --config\.evals\.\* can be changed"),
        (["--workdir={run}", "--config.evals.knn.kk=3"], r"kk.*did you mean .*\bk\b"),
        (["--workdir", "{empty}"], "holds no run"),  # flags may be written with a space, too
    ],
    ids=["no workdir", "no run", "not an eval", "no such key", "with a space"],
)
def test_evaluate_refuses_in_one_line(arguments, word, run, tmp_path):
    given = [argument.format(empty=tmp_path, run=run.folder) for argument in arguments]
    assert re.search(word, refused(*given, module="jssl.evaluate"), re.IGNORECASE)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--workdir={run}"], "--data is missing"),
        (["--workdir={run}", "--data=digits", "--out={there}"], "is there already.*--overwrite"),
        (["--workdir={run}", "--data=digits", "--out={tmp}/features.csv"], r"must end in \.npz"),
        (["--workdir={run}", "--data={tmp}"], "no images below"),
        (["--workdir={tmp}", "--data=digits", "--out={tmp}/f.npz"], "holds no run"),
    ],
    ids=["no data", "out exists", "out no npz", "no images", "no run"],
)
def test_embed_refuses_in_one_line(arguments, word, run, tmp_path):
    (tmp_path / "there.npz").write_text("mine")
    given = [
        argument.format(tmp=tmp_path, there=tmp_path / "there.npz", run=run.folder) for argument in arguments
    ]
    assert re.search(word, refused(*given, module="jssl.embed"), re.IGNORECASE)
    assert (tmp_path / "there.npz").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["there.npz"]


class Run:
    """A finished tiny run: its folder, its command line, and what it printed."""

    def __init__(self, base):
        self.arguments = (
            f"--config={ROOT / 'configs' / 'simclr.py'}",
            *TINY,
            "--config.evals.baselines=True",
            f"--config.total_steps={STEPS}",
        )
        # The folder is the default one, below the current folder.
        status, self.out, err = called(*self.arguments, "--profile=2", cwd=base)
        assert status == 0, err
        assert err == ""
        self.folder = base / "runs" / "simclr_digits"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("here"))


def closing(out):
    """From the table on."""
    begin = out.index("top-1 accuracy")
    return out[begin:]


def rows(out):
    """The accuracies of each row of the table."""
    return {
        label: [float(cell) for cell in re.findall(r"\d+\.\d", line.removeprefix(label))]
        for label in ("commonest class", "raw pixels", "untrained encoder", "this run")
        for line in out.splitlines()
        if line.startswith(label)
    }


def test_a_run_goes_to_runs_name_and_prints_table_and_next_commands(run):
    assert (run.folder / "result.json").is_file()
    table = rows(run.out)
    assert table.keys() == {"commonest class", "raw pixels", "untrained encoder", "this run"}
    result = json.loads((run.folder / "result.json").read_text())
    assert table["this run"] == [round(100 * result["knn/top1"], 1)]
    assert table["raw pixels"] == [round(100 * result["pixels/knn/top1"], 1)]
    after = run.out.partition("\nnext:\n")[2].splitlines()
    assert len(after) == 3
    assert all(line.strip().startswith("python -m jssl.") for line in after)
    assert "jssl.evaluate --workdir=runs/simclr_digits" in after[0]
    assert "jssl.embed --workdir=runs/simclr_digits" in after[1]


def test_a_profile_is_a_trace_below_the_workdir(run):
    traces = [path for path in (run.folder / "profile").rglob("*") if path.is_file()]
    assert any(path.name.endswith((".xplane.pb", ".trace.json.gz")) for path in traces)


def test_the_same_command_again_prints_the_same_and_trains_nothing(run):
    def written():
        return {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}

    before = written()
    status, out, err = called(*run.arguments, "--profile=2", cwd=run.folder.parent.parent)
    assert status == 0, err
    assert "steps done" not in out
    assert closing(out) == closing(run.out)
    assert written() == before


def test_profiling_is_no_other_run(run):
    """Who looks at a run again, or goes on with it, does not ask for another run by asking for a trace."""
    status, out, err = called(*run.arguments, cwd=run.folder.parent.parent)
    assert status == 0, err
    assert closing(out) == closing(run.out)


def test_the_commands_that_a_run_proposes_can_be_run(run, tmp_path):
    base = run.folder.parent.parent
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (12 + number, 14, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"photo{number}.png")
    evaluate, embed, again = (line.split()[3:] for line in run.out.partition("\nnext:\n")[2].splitlines())

    status, out, err = called(*evaluate, module="jssl.evaluate", cwd=base)
    assert status == 0, err
    values = json.loads(out.splitlines()[-1])
    assert values["step"] == STEPS
    assert rows(out)["this run"] == [round(100 * values["knn/top1"], 1)]

    embed = [argument.replace("FOLDER_OF_IMAGES", str(folder)) for argument in embed]
    assert embed[-1] == "--out=features.npz"
    status, out, err = called(*embed[:-1], f"--out={tmp_path / 'f.npz'}", module="jssl.embed", cwd=base)
    assert status == 0, err
    stored = np.load(tmp_path / "f.npz")
    assert stored["names"].tolist() == ["photo0.png", "photo1.png", "photo2.png"]
    assert again[0] == "--config=simclr:folder"  # a long run: that its config loads is tested elsewhere


def test_evaluating_changes_the_numbers_asked_for_and_no_file(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    status, out, err = called(f"--workdir={copy}", "--config.evals.knn.k=100", module="jssl.evaluate")
    assert status == 0, err
    assert err == ""
    table, values = rows(out), json.loads(out.splitlines()[-1])
    old = json.loads((copy / "result.json").read_text())
    assert values["pixels/knn/top1"] != old["pixels/knn/top1"]  # k=100, not the best of some
    assert table["raw pixels"] == [round(100 * values["pixels/knn/top1"], 1)]
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_unreadable_images_of_other_data_are_counted(run, tmp_path):
    for number in range(12):
        path = tmp_path / "pixels" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(path)
    (tmp_path / "pixels/a/0.png").write_bytes(b"no image")
    arguments = (f"--workdir={run.folder}", f"--data={tmp_path / 'pixels'}", "--evals=knn")
    status, out, err = called(*arguments, module="jssl.evaluate")
    assert status == 0, err
    assert json.loads(out.splitlines()[-1])["unreadable"] == 1


def test_embedding_writes_features_labels_and_names(run, tmp_path):
    out_file = tmp_path / "digits.npz"
    status, out, err = called(
        f"--workdir={run.folder}",
        "--data=digits",
        "--split=test[:50]",
        f"--out={out_file}",
        module="jssl.embed",
    )
    assert status == 0, err
    assert err == ""
    assert out.startswith("50 x 4 features in ")
    stored = np.load(out_file)
    assert sorted(stored.files) == ["class_names", "features", "labels", "names"]
    assert stored["features"].shape == (50, 4)
    assert stored["features"].dtype == np.float32
    assert np.isfinite(stored["features"]).all()
    assert stored["labels"].shape == (50,)
    assert set(stored["labels"].tolist()) <= set(range(10))
    assert len(set(stored["names"].tolist())) == 50


def test_decoders_warn_once_of_every_kind(run, tmp_path):
    """Tags longer than the file, of another number in every file, and an EXIF block that is cut."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        exif = b"Exif\0\0II*\0\x08\0\0\0\x09\0" + bytes([number]) + b"\x01\x02\0\x40\0\0\0\x10\0\0\0"
        Image.new("L", (8, 8)).save(folder / f"{number}.jpg", exif=exif)
    arguments = (f"--workdir={run.folder}", f"--data={folder}", f"--out={tmp_path / 'photos.npz'}")
    status, out, err = called(*arguments, module="jssl.embed")
    assert (status, out.startswith("6 x 4 features")) == (0, True), err
    assert err.count("Skipping tag") == 1
    assert err.count("Corrupt EXIF data") == 1
    assert len(err.splitlines()) == 2, err


def test_without_a_terminal_stdout_has_no_escape_codes(run):
    assert "\x1b" not in run.out
    assert "\r" not in run.out


@pytest.mark.parametrize("module", ["jssl.main", "jssl.evaluate", "jssl.embed"])
def test_help_prints_the_flags_and_an_example(module):
    status, out, err = called("--help", module=module)
    assert status == 0
    assert err == ""
    assert "--workdir" in out
    assert f"python -m {module}" in out
    if module == "jssl.main":
        for flag in ("--config", "--profile", "--coordinator", "--num_processes", "--process_id"):
            assert flag in out
        assert " simclr " in out
        assert "presets: digits" in out


def test_a_mistake_in_a_process_of_its_own_is_the_same_line():
    """The other tests' processes are forked from one that has imported the library (tests/commands.py)."""
    command = [sys.executable, "-m", "jssl.main", f"{SIMCLR}:nonsense"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=HANG)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"jssl: {refused(f'{SIMCLR}:nonsense')}\n"


WAITS = """
import threading

from jssl import cli
from jssl.errors import UserError


def main(argv):
    threading.Thread(target=threading.Event().wait).start()
    print("begun")
    raise UserError("no space left")


cli.run(main)
"""


def test_a_thread_that_waits_for_ever_does_not_hold_up_the_end(tmp_path):
    """As one of a save may, for which the disk had no room."""
    (tmp_path / "waits.py").write_text(WAITS)
    assert called(module="waits", cwd=tmp_path) == (2, "begun\n", "jssl: no space left\n")


@pytest.mark.parametrize("platform", ["cuda", "no_such"])
def test_a_platform_that_is_not_there_is_one_line(platform, tmp_path):
    command = [sys.executable, "-m", "jssl.main", SIMCLR, *TINY, f"--workdir={tmp_path / 'run'}"]
    env = environment(JAX_PLATFORMS=platform)
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert f"JAX_PLATFORMS={platform} asks for what is not there: unset it" in done.stderr
    assert not (tmp_path / "run").exists()


def test_output_that_nobody_reads_ends_no_run(tmp_path):
    command = [sys.executable, "-m", "jssl.main", SIMCLR, *TINY, "--config.total_steps=4"]
    env = environment()
    for number, where in enumerate(("2> /dev/full | head -n 1", ">&- 2>&-")):
        folder = tmp_path / str(number)
        line = f"{shlex.join([*command, f'--workdir={folder}'])} {where}"
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {line}"], env=env, cwd=ROOT, capture_output=True
        )
        assert (folder / "result.json").exists(), (where, done.stderr)
        assert b"Traceback" not in done.stderr, (number, done.stderr)
        assert done.returncode == 0, (where, done)


@pytest.mark.parametrize(
    ("function", "module"),
    [
        ("jssl.runs.workdir:write_splits", "jssl.main"),
        ("jssl.train.monitor:truncate", "jssl.main"),
        ("jssl.runs.workdir:read_config", "jssl.embed"),
        ("jssl.data.sources:load", "jssl.embed"),
    ],
)
def test_a_file_that_may_not_be_touched_is_one_line(function, module, run, tmp_path):
    """The function raises what the system would; the tests may run as root, whom nothing is forbidden."""
    arguments = [SIMCLR, *TINY, "--config.total_steps=4", f"--workdir={tmp_path / 'run'}"]
    if module == "jssl.embed":
        arguments = [f"--workdir={run.folder}", f"--data={DIGITS}", f"--out={tmp_path / 'f.npz'}"]
    status, _, err = called(*arguments, module=module, holds=[Forbidden(function)])
    assert status == 2, err
    assert "Traceback" not in err
    assert "jssl: /forbidden/file: Permission denied: see to its permissions" in err
