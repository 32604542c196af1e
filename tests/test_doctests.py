"""The examples of all docstrings, run as a user would who copies one; and who must have one."""

import contextlib
import doctest
import functools
import importlib
import inspect
import pathlib
import sys

import jax
import pytest

import jssl
from jssl.models import Network

ROOMS = ("losses", "metrics", "clustering", "models", "data.augment", "evaluation")
MODULES = (
    "data.augment.image_ops",
    "data.augment.operators",
    "data.augment.randaugment",
    "methods.batching",
    "methods.memory",
    "schedules",
)
NAMES = ("methods.momentum.ema", "metrics.ood.score", "metrics.ood.threshold")
# Parts of the program, which no user calls by themselves.
EXEMPT = {
    *("evaluation.Encode", "evaluation.EvalContext", "evaluation.EvalData", "evaluation.Evaluation"),
    *("evaluation.Evaluator", "evaluation.Features", "evaluation.evaluators"),
    "data.augment.randaugment.Operator",
}
ROOT = pathlib.Path(jssl.__file__).parent


def module_of(path):
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


# By their text: command lines, which define flags, need not be imported to see that they have none.
MODULES_WITH_EXAMPLES = sorted(module_of(path) for path in ROOT.rglob("*.py") if ">>> " in path.read_text())


def examples_of(module):
    # Without the module's own names: an example imports what it takes.
    tests = doctest.DocTestFinder().find(importlib.import_module(module), globs={})
    return [test for test in tests if test.examples]


JITTED = ("jssl.losses", "jssl.data.augment")  # whose public functions give arrays of arrays
ALONE = ("to_float", "vicreg")  # but for an example of all bits, and one of the order of a dictionary


def jitted(function):
    """As one program of its arrays, in the place of one for each of its operations."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        leaves, tree = jax.tree.flatten((args, kwargs))
        places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]

        def run(arrays):
            given = dict(zip(places, arrays))
            args, kwargs = tree.unflatten([given.get(place, leaf) for place, leaf in enumerate(leaves)])
            return function(*args, **kwargs)

        if places:
            with contextlib.suppress(Exception):  # the function alone raises it as a user sees it
                return jax.jit(run)([leaves[place] for place in places])
        return function(*args, **kwargs)

    return call


@pytest.fixture
def quickly(monkeypatch):
    """Networks and the functions of some rooms run jitted."""
    apply = jax.jit(Network.apply, static_argnums=0, static_argnames=("train", "method"))
    monkeypatch.setattr(Network, "apply", apply)

    def everywhere():
        for room in [module for name, module in sys.modules.items() if name.startswith("jssl")]:
            for name, value in list(vars(room).items()):
                public = inspect.isfunction(value) and name not in ALONE and not name.startswith("_")
                if public and value.__module__.startswith(JITTED):
                    monkeypatch.setattr(room, name, jitted(value))

    return everywhere


@pytest.mark.parametrize("module", MODULES_WITH_EXAMPLES)
def test_examples(module, quickly):
    tests = examples_of(module)
    assert tests, "there are examples, but in no docstring"
    quickly()
    for test in tests:
        report = []
        doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(test, out=report.append)
        assert not report, "".join(report)


def public(room):
    """Functions and classes that a room gives out, or that a module defines."""
    module = importlib.import_module(f"jssl.{room}")
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
    ]
    return {f"{room}.{name}": getattr(module, name) for name in names if not name.startswith("_")}


def test_every_public_function_has_an_example():
    everything = {name: value for room in (*ROOMS, *MODULES) for name, value in public(room).items()}
    for name in NAMES:
        module, _, own = name.rpartition(".")
        everything[name] = getattr(importlib.import_module(f"jssl.{module}"), own)
    callables = {name: value for name, value in everything.items() if callable(value)}
    assert len(callables) > 120, "the lists above find what there is"
    missing = {name for name, value in callables.items() if ">>> " not in (inspect.getdoc(value) or "")}
    assert missing == EXEMPT & callables.keys()
