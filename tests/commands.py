"""The command lines as child processes: how to start them, watch them, and be sure that they end."""

import atexit
import contextlib
import gc
import importlib.metadata
import multiprocessing
import os
import pathlib
import runpy
import sys
import threading

# Compiles five times faster, which is what these tests spend their time on.
QUICK = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if importlib.metadata.version("jaxlib").startswith("0.10."):  # later versions refuse to start with this flag
    QUICK += " --xla_cpu_use_fusion_emitters=false"
ROOT = pathlib.Path(__file__).parent.parent
SIMCLR = "--config=configs/simclr.py"
DIGITS = pathlib.Path(os.environ["JSSL_TESTS"]) / "digits.npz"  # which opens faster than scikit-learn's
# The shipped digits config, shrunk as tests/conftest.py shrinks it, with little to trace.
TINY = (
    f"--config.data.name={DIGITS}",
    "--config.total_epochs=0",
    "--config.encoder.convnet.width=4",
    "--config.encoder.convnet.strides=(2,)",
    "--config.method.proj_hidden_dim=16",
    "--config.method.proj_dim=8",
    "--config.data.unlabeled.batch_size=16",
    "--config.optim.warmup_percent=0",
    "--config.optim.warmup_steps=2",
    "--config.evals.every_percent=0",
    "--config.evals.per_class=()",
    "--config.evals.knn.k=20",
    "--config.evals.linear.enabled=False",
    "--config.evals.health.enabled=False",
    "--config.evals.baselines=False",
    "--config.checkpoint.every_percent=0",
    "--config.checkpoint.every_steps=5",
    "--config.log.every_steps=5",
    "--config.log.pictures=False",
    *(
        f"--config.data.unlabeled.views.{view}.{field}=0"
        for view in ("first", "second")
        for field in ("affine_prob", "brightness", "contrast")
    ),
)
HANG = 1200.0  # seconds; a child takes a few on an idle machine, many more on a slow and busy one
TIMING = ("images_per_second", "waiting_for_data", "flops_per_second", "utilisation")


def environment(devices=1, **changes):
    """What a child inherits: the tests' compilation cache, but devices of its own and no proxies."""
    flags = f"--xla_force_host_platform_device_count={devices} {QUICK}"
    left_out = {name for name in os.environ if name.lower().endswith("_proxy")}
    left_out.add("PYTHONDONTWRITEBYTECODE")  # compiling all modules anew takes long
    inherited = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**inherited, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT), **changes}


# Children are forked from a process that has imported what they need and has done nothing else, which takes 2.5 s less
# than beginning anew. Modules of command lines are not among it: theirs are the flags.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["jssl.runs.stages", "jssl.train.planner", "jssl.configs.simclr"])


def leave_garbage():
    """What is there now, stays: the garbage collector needs not look through it again and again."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def run_module(module, arguments, cwd, variables, holds, out, err):
    """What a child does: `python -m MODULE ARGUMENTS`, which stops at some points (tests/holds.py)."""
    leave_garbage()
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    sys.path.insert(0, str(cwd))
    sys.argv = [module, *arguments]
    for hold in holds:
        hold.install()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out


class Child:
    """As subprocess.Popen, as far as it is needed."""

    def __init__(self, *command):
        (out, written), (err, said) = (FORKS.Pipe(duplex=False) for _ in range(2))
        self.process = FORKS.Process(target=run_module, args=(*command, written, said))
        self.process.start()
        written.close()
        said.close()
        self.stdout, self.stderr = (open(os.dup(end.fileno())) for end in (out, err))  # noqa: SIM115
        self.pid, self.kill = self.process.pid, self.process.kill

    def poll(self):
        return self.process.exitcode

    def wait(self):
        self.process.join()
        return self.process.exitcode

    def read_until(self, words):
        """Lines of stdout up to one with some words, which is the last one returned; '' if there is none."""
        for line in iter(self.stdout.readline, ""):
            if words in line:
                return line
        return ""

    def send_signal(self, number):
        os.kill(self.pid, number)


@contextlib.contextmanager
def started(*arguments, module="jssl.main", devices=1, cwd=ROOT, holds=(), **changes):
    """A child with `stdout` to read and `errors()`; killed at the end, and if it hangs."""
    given = [str(argument) for argument in arguments]
    child = Child(module, given, cwd, environment(devices, **changes), holds)
    said = []
    reader = threading.Thread(target=lambda: said.append(child.stderr.read()))
    guard = threading.Timer(HANG, child.kill)

    def errors():
        """All of stderr; waits for the end of the child."""
        reader.join()
        return said[0]

    child.errors = errors
    reader.start()
    guard.start()
    try:
        yield child
    finally:
        guard.cancel()
        child.kill()
        child.wait()
        reader.join()
        child.stdout.close()
        child.stderr.close()


def called(*arguments, **options):
    """Runs a command line to its end; gives status, stdout and stderr."""
    with started(*arguments, **options) as child:
        out = child.stdout.read()
        return child.wait(), out, child.errors()


def as_file(config, path):
    """Writes a config as a file that --config takes; gives the flag."""
    path.write_text(
        "import ml_collections\n\n\ndef get_config():\n"
        f"    return ml_collections.ConfigDict({config.to_dict()!r})\n"
    )
    return f"--config={path}"


def numbers(lines):
    """Lines of a metrics.jsonl without what depends on the clock."""
    return [{key: value for key, value in line.items() if key not in TIMING} for line in lines]
