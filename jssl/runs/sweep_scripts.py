"""The runs of a sweep as commands, as an array job of SLURM, or as workloads of GKE."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
from collections.abc import Callable, Mapping, Sequence

import jssl
from jssl import storage
from jssl.errors import UserError
from jssl.runs.sweep import Job

LAUNCH = pathlib.Path(jssl.__file__).parent.parent / "launch"
XPK_HEAD = (
    "#!/usr/bin/env bash",
    "# bash THIS_FILE --cluster=CLUSTER --zone=ZONE --type=TYPE",
    "set -euo pipefail",
)


def commands(jobs: Sequence[Job], parallel: int) -> str:
    """A line for each run that is not finished; how many at a time is whoever runs them to say."""
    return "\n".join(f"python -m jssl.main {_flags(job)}" for job in _unfinished(jobs))


def slurm(jobs: Sequence[Job], parallel: int) -> str:
    """A script for sbatch: an array of the runs that are not finished, so many at a time.

    Arguments of the script are those of launch/slurm.sbatch.

    Raises:
      UserError: if there is no launch/ beside the library, or nothing to do.
    """
    found = _unfinished(jobs)
    cases = "\n".join(f'  {i}) set -- "$@" {_flags(job)} ;;' for i, job in enumerate(found))
    return f"""#!/usr/bin/env bash
#SBATCH --job-name=jssl-sweep
#SBATCH --array=0-{len(found) - 1}%{parallel}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
# sbatch [SBATCH OPTIONS] THIS_FILE [--per=gpu] [--restarts=N]
cd {shlex.quote(str(_launch().parent))} || exit 2
case ${{SLURM_ARRAY_TASK_ID:?submit this with sbatch}} in
{cases}
  *) exit 2 ;;
esac
exec bash launch/slurm.sbatch "$@\""""


def xpk(jobs: Sequence[Job], parallel: int) -> str:
    """A script that makes a workload of each run that is not finished, by launch/gke_xpk.sh, whose options it takes.

    The cluster's queue says how many run at a time.

    Raises:
      UserError: if the folder is not on gs://, there is no launch/ beside the library, or nothing to do.
    """
    found, lines = _unfinished(jobs), []
    for job in found:
        if not str(job.folder).startswith("gs://"):
            raise UserError(
                f"--print=xpk: pods lose their disk, so --out must begin with gs://, not {job.folder.parent}"
            )
        name = f"{_workload(job.folder.parent.name)}-{jobs.index(job)}"
        *flags, workdir = shlex.split(_flags(job))
        place = f"--name={name} {shlex.quote(workdir)}"
        lines.append(f'launch/gke_xpk.sh run "$@" {place} -- {shlex.join(flags)}')
    return "\n".join([*XPK_HEAD, f"cd {shlex.quote(str(_launch().parent))}", *lines])


KINDS: Mapping[str, Callable[[Sequence[Job], int], str]] = {"commands": commands, "slurm": slurm, "xpk": xpk}


def _flags(job: Job) -> str:
    """The flags of a run, from any folder."""
    workdir = storage.absolute(job.folder)
    return shlex.join([*map(_absolute, job.flags), f"--workdir={workdir}"])


def _absolute(flag: str) -> str:
    """A config's file by its whole path."""
    name, _, value = flag.partition("=")
    path, colon, preset = value.partition(":")
    return (
        f"{name}={os.path.abspath(path)}{colon}{preset}"
        if name == "--config" and path.endswith(".py")
        else flag
    )


def _unfinished(jobs: Sequence[Job]) -> list[Job]:
    found = [job for job in jobs if not job.finished()]
    if not found:
        raise UserError("all runs are finished: --table shows them")
    return found


def _launch() -> pathlib.Path:
    if not (LAUNCH / "slurm.sbatch").is_file():
        raise UserError("there is no launch/ beside the library: take a checkout, or --print=commands")
    return LAUNCH


def _workload(name: str) -> str:
    """A name as Kubernetes takes it."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:20] or "sweep"
