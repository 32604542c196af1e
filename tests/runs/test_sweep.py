"""The processes of a sweep, by commands that only pretend to train: which start, go on, fail and stop."""

import json
import pathlib
import shlex
import subprocess
import sys
import threading
import time

import pytest
from etils import epath

import jssl
from jssl.errors import UserError
from jssl.runs import sweep, sweep_scripts, workdir
from jssl.search_space import parse_grid
from tests.commands import HANG

CONFIG = jssl.get_config("simclr:digits")
FINISH = (
    "import json, os, sys, time, pathlib\n"
    "folder = pathlib.Path(sys.argv[1]); seed = folder.name[-1]\n"
    "def finish():\n"
    "    folder.mkdir(parents=True, exist_ok=True)\n"
    "    (folder / 'metrics.jsonl').write_text(json.dumps({'step': 5, 'val/knn/top1': int(seed) / 10}))\n"
    "    (folder / 'result.json').write_text(json.dumps({'step': 9, 'seconds': 1.0, 'knn/top1': .5}))\n"
    "def wait_for(path):\n"
    f"    until = time.monotonic() + {HANG}\n"
    "    while not path.exists():\n"
    "        time.sleep(.01)\n"
    "        assert time.monotonic() < until\n"
)


@pytest.fixture
def make(tmp_path):
    """Runs of some seeds, and a command that runs a script after FINISH, with the folder and what stands in a file."""

    def make(seeds, script):
        jobs = sweep.make_jobs(
            parse_grid(f"seed={seeds}", CONFIG).trials(),
            CONFIG,
            ("--config=simclr:digits",),
            epath.Path(tmp_path),
        )
        return jobs, lambda job: [sys.executable, "-S", "-c", FINISH + script, str(job.folder)]

    return make


def test_one_that_fails_is_named_and_stops_no_other_and_the_same_call_goes_on(make, tmp_path):
    script = (
        "ok = folder.parent / 'ok'; print('began', seed)\n"
        "if seed == '1' and not ok.exists(): sys.exit('no luck')\n"
        "finish()"
    )
    jobs, command = make("0,1,2", script)
    failed = sweep.run(jobs, tmp_path, command=command)
    assert failed == {"seed=1": "began 1\nno luck"}
    rows = sweep.rows(jobs, failed)
    assert [row.status for row in rows] == [sweep.FINISHED, sweep.FAILED, sweep.FINISHED]
    (tmp_path / "ok").touch()
    logs = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "logs").iterdir()}
    assert sweep.run(jobs, tmp_path, command=command) == {}
    again = {
        path.name for path in (tmp_path / "logs").iterdir() if path.stat().st_mtime_ns != logs[path.name]
    }
    assert again == {"seed=1.txt"}, "finished runs are not started again"
    assert all(job.finished() for job in jobs)


def test_some_run_at_a_time_each_with_a_gpu_of_its_own(make, tmp_path):
    """Each of two waits for the other; the third begins when one is done, in its place."""
    script = (
        "(folder.parent / f'gpu{seed}').write_text(os.environ['CUDA_VISIBLE_DEVICES'])\n"
        "if seed < '2': wait_for(folder.parent / f'gpu{1 - int(seed)}')\n"
        "finish()"
    )
    jobs, command = make("0,1,2", script)
    assert sweep.run(jobs, tmp_path, parallel=2, gpus=["4", "7"], command=command) == {}
    seen = [(tmp_path / f"gpu{seed}").read_text() for seed in range(3)]
    assert sorted(seen[:2]) == ["4", "7"]
    assert seen[2] in ("4", "7")


def test_no_more_run_at_a_time_than_asked_for(make, tmp_path):
    """Whoever finds another one under way fails."""
    script = "mark = folder.parent / 'running'; mark.touch(exist_ok=False); time.sleep(.05); mark.unlink(); finish()"
    jobs, command = make("0,1,2", script)
    assert sweep.run(jobs, tmp_path, command=command) == {}


def test_a_stop_reaches_those_under_way_which_save_and_starts_no_other(make, tmp_path):
    script = (
        "import signal\n"
        "def save(*_): (folder.parent / 'saved').touch(); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "(folder.parent / 'ready').touch()\n"
        "wait_for(folder.parent / 'never')"
    )
    jobs, command = make("0,1", script)
    stop = threading.Event()

    def stop_when_ready():
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        stop.set()

    watcher = threading.Thread(target=stop_when_ready, daemon=True)
    watcher.start()
    assert sweep.run(jobs, tmp_path, stop=stop, command=command) == {}
    assert (tmp_path / "saved").exists()
    assert not (tmp_path / "logs" / "seed=1.txt").exists()
    assert {row.status for row in sweep.rows(jobs, {})} == {sweep.WAITING}


def test_no_process_is_left_behind(make, tmp_path, monkeypatch):
    """What ends the sweep from within, as a second Ctrl-C does, ends its processes, too."""
    script = "(folder.parent / 'pid').write_text(str(os.getpid())); wait_for(folder.parent / 'never')"
    jobs, command = make("0", script)
    children = []
    popen = subprocess.Popen

    def noted(*arguments, **options):
        children.append(popen(*arguments, **options))
        return children[-1]

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep.subprocess, "Popen", noted)
    monkeypatch.setattr(sweep.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(jobs, tmp_path, command=command)
    assert [child.returncode for child in children] == [-9]


def test_the_report_has_a_table_a_summary_and_a_heat_map(make, tmp_path, capsys):
    config, line = CONFIG, "data.split_seed=0,1; seed=0,1,2"
    space = parse_grid(line, config)
    jobs = sweep.make_jobs(space.trials(), config, (), epath.Path(tmp_path))
    _, command = make("0", "finish()")
    assert sweep.run(jobs[:4], tmp_path, parallel=2, command=command) == {}
    found = sweep.report(space, jobs, {jobs[4].trial.name: "its last line"}, epath.Path(tmp_path))
    assert found.winner.name == "split_seed=0_seed=2"
    said = capsys.readouterr().out
    assert "the winner is split_seed=0_seed=2; on the test set, which chose nothing, 50.0 %" in said
    assert "its last line" in said
    values = json.loads((tmp_path / "sweep.json").read_text())
    assert (values["winner"], values["score"]) == ("split_seed=0_seed=2", "val/knn/top1")
    assert values["runs"][0]["score"] == 0.2
    assert [run["status"] for run in values["runs"]].count("finished") == 4
    assert (tmp_path / "heat_map.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_of_another_run_is_told_before_anything_begins(make, tmp_path):
    other = jssl.get_config("byol:digits")
    workdir.prepare(epath.Path(tmp_path / "seed=1"), other)
    with pytest.raises(UserError, match=r"seed=1: .* holds a run of another config"):
        make("0,1", "")


def test_flags_of_a_run_are_those_of_all_and_its_own_which_win():
    trial = parse_grid("seed=3", CONFIG).trials()[0]
    (job,) = sweep.make_jobs(
        [trial], CONFIG, ("-config=simclr", "--config.seed=1", "--config.seed=2"), epath.Path("out")
    )
    assert job.flags == ("--config=simclr", "--config.seed=3")
    assert sweep.command(job)[1:] == ["-m", "jssl.main", *job.flags, "--workdir=out/seed=3"]


def test_commands_and_scripts_hold_what_is_not_finished(make, tmp_path):
    jobs, command = make("0,1,2", "finish()")
    sweep.run(jobs[:1], tmp_path, command=command)
    lines = sweep_scripts.commands(jobs, 1).splitlines()
    assert [shlex.split(line)[-1] for line in lines] == [f"--workdir={job.folder}" for job in jobs[1:]]
    assert all("--config.seed=" in line for line in lines)

    script = tmp_path / "sweep.sbatch"
    script.write_text(sweep_scripts.slurm(jobs, 4))
    assert "#SBATCH --array=0-1%4" in script.read_text()
    bash = ["bash", script, "--dry-run", "--restarts=3"]
    done = subprocess.run(
        bash,
        env={"SLURM_ARRAY_TASK_ID": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    words = shlex.split(done.stdout)
    assert words[-3:] == ["--config=simclr:digits", "--config.seed=2", f"--workdir={jobs[2].folder}"]
    done = subprocess.run(bash, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.returncode != 0
    assert "submit this with sbatch" in done.stderr

    with pytest.raises(UserError, match="must begin with gs://"):
        sweep_scripts.xpk(jobs, 1)
    with pytest.raises(UserError, match="all runs are finished"):
        sweep_scripts.commands(jobs[:1], 1)


def test_workloads_have_names_of_their_own(monkeypatch, tmp_path):
    """The script calls launch/gke_xpk.sh, which here only prints."""
    monkeypatch.setattr(sweep.Job, "finished", lambda job: False)
    trials = parse_grid("seed=0,1", CONFIG).trials()
    jobs = [
        sweep.Job(trial, CONFIG, epath.Path("gs://bucket/My_Sweep") / trial.name, ("--config=simclr",))
        for trial in trials
    ]
    script = tmp_path / "sweep.sh"
    script.write_text(sweep_scripts.xpk(jobs, 1))
    place = ["--cluster=ours", "--zone=z", "--type=v5litepod-16", "--dry-run"]
    done = subprocess.run(["bash", script, *place], capture_output=True, text=True, check=True)
    first, second = (shlex.split(line) for line in done.stdout.splitlines())
    assert "--workload=my-sweep-0" in first
    assert "--workload=my-sweep-1" in second
    assert "--workdir=gs://bucket/My_Sweep/seed=1" in second[-1]


def test_a_folder_that_is_not_here_runs_nothing_here(make, tmp_path):
    jobs, _ = make("0", "")
    with pytest.raises(UserError, match="take --print"):
        sweep.run(jobs, epath.Path("gs://bucket/out"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to --out"):
        sweep.run(jobs, epath.Path(tmp_path / "file"))
    assert not pathlib.Path(tmp_path / "logs").exists()
