"""Stand-ins for gcloud, xpk and SLURM's commands: they note how they were called and play a part."""

import json
import os
import pathlib
import subprocess
import sys

from tests.commands import HANG

ROOT = pathlib.Path(__file__).parent.parent.parent
FAKE = f"""#!{sys.executable}
import json, os, pathlib, sys
stage = pathlib.Path(os.environ["STAGE"])
name, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
with (stage / "calls").open("a") as file:
    file.write(json.dumps([name, *arguments]) + "\\n")
for number, (words, answers) in enumerate(json.loads((stage / "script").read_text())):
    if all(word in " ".join([name, *arguments]) for word in words):
        told = stage / f"told_{{number}}"
        count = len(told.read_text()) if told.exists() else 0
        told.write_text("." * (count + 1))
        answer = answers[min(count, len(answers) - 1)]
        stream = sys.stderr if answer.startswith("ERROR") else sys.stdout
        print(answer, file=stream)
        sys.exit(stream is sys.stderr)
"""


class Stage:
    """A PATH on which the programs are fakes.

    Args:
      folder: a new one.
      script: pairs of words that a call has, and the answers to such calls, one after the other; the last one stays.
    """

    def __init__(self, folder, programs, script=()):
        folder.mkdir()
        self.folder = folder
        (folder / "script").write_text(json.dumps(list(script)))
        for program in programs:
            path = folder / program
            path.write_text(FAKE)
            path.chmod(0o755)

    def environment(self, **changes):
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("JSSL_", "SLURM_"))}
        return mine | {"PATH": f"{self.folder}:{os.environ['PATH']}", "STAGE": str(self.folder), **changes}

    def run(self, script, *arguments, **changes):
        """Status, stdout, stderr."""
        done = subprocess.run(
            ["bash", f"launch/{script}", *map(str, arguments)],
            env=self.environment(**changes),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=HANG,
        )
        return done.returncode, done.stdout, done.stderr

    def calls(self):
        """What the programs were called with, each as a list of words."""
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
