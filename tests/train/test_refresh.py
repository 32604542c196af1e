"""A method that is refreshed by the loop: the data set is labelled anew every epoch, and a kill within it changes
nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from etils import epath

from jssl import losses, models
from jssl.data.datasets import open_data
from jssl.errors import UserError
from jssl.methods import METHODS, Method, Output, Refreshed
from jssl.methods.base import ViewRef, get_view
from jssl.runs import run
from jssl.runs.extract import UnlabeledExtract
from jssl.train import durations, loop, optim, program
from tests.conftest import tiny_config

CLASSES = 3
VIEW = ViewRef("unlabeled", "first")


@dataclasses.dataclass(frozen=True)
class Relabel(Method):
    """Images are sorted by a random direction of their features into classes of one size, which a classifier learns."""

    num_examples: int = 0

    @property
    def refresh_every(self):
        return "1 epoch"

    @property
    def classifier(self):
        return models.linear(CLASSES, kernel_init="normal")

    def init(self, key, batch):
        images = get_view(batch, VIEW)
        params, stats = self.encoder.init(key, images)
        features, _ = self.encoder.apply(params, stats, images, train=False)
        classifier, _ = self.classifier.init(key, features)
        state = {"stats": {"encoder": stats}, "labels": jnp.zeros(self.num_examples, jnp.int32)}
        return {"encoder": params, "classifier": classifier}, {**state, "refreshed": jnp.zeros((), jnp.int32)}

    def loss(self, params, state, batch, ctx):
        h, stats = self.encoder.apply(
            params["encoder"], state["stats"]["encoder"], get_view(batch, VIEW), train=True
        )
        logits, _ = self.classifier.apply(params["classifier"], {}, h, train=True)
        labels = state["labels"][batch["unlabeled"]["index"]]
        state = {**state, "stats": {"encoder": stats}}
        metrics = {"labels": jnp.sum(state["labels"]), "refreshed": state["refreshed"]}
        return losses.cross_entropy(logits, labels), Output(state, metrics)

    def refresh(self, params, state, extract, key):
        found = extract(params, state)
        direction = np.asarray(jax.random.normal(key, found.x.shape[1:]))
        order = np.argsort(found.x @ direction, kind="stable")
        labels = np.empty(self.num_examples, np.int32)
        labels[found.index[order]] = np.arange(self.num_examples) * CLASSES // self.num_examples
        fresh, _ = self.classifier.init(key, jnp.asarray(found.x[:2]))
        state = {**state, "labels": jnp.asarray(labels), "refreshed": state["refreshed"] + 1}
        return Refreshed({**params, "classifier": fresh}, state, reset=("classifier",))


@pytest.fixture(scope="module")
def made():
    METHODS["relabel"] = Relabel
    config = tiny_config(
        data__train="train[:96]", checkpoint__every_steps=2, total_steps=16, checkpoint__keep_last=9
    )
    del config.data.unlabeled.views["second"]
    config.method = {"name": "relabel"}
    data = open_data(config)
    yield program.make_program(config, data.info), data
    del METHODS["relabel"]


class Killed(Exception):
    """As SIGKILL: nothing is saved."""


def train(made, folder, until=None):
    prog, data = made
    calls = []

    def extract(params, state):
        calls.append(1)
        return UnlabeledExtract(prog, data)(params, state)

    batches = run.train_batches(prog, data)
    if until is not None:
        whole = batches["unlabeled"]

        class Dying:
            def __getattr__(self, name):
                return getattr(whole, name)

            def __len__(self):
                return len(whole)

            def __getitem__(self, step):
                if step >= until:
                    raise Killed
                return whole[step]

        batches = {"unlabeled": Dying()}
    return loop.train(prog, batches, epath.Path(folder), extract=extract), len(calls)


def test_the_loop_refreshes_every_epoch_and_a_run_that_was_killed_is_as_never_stopped(made, tmp_path):
    prog, _ = made
    every = sorted(prog.refreshes)[1]
    assert 4 < every < prog.clock.total_steps / 2  # several epochs
    whole, times = train(made, tmp_path / "whole")
    assert times == -(-prog.clock.total_steps // every)
    assert int(whole.state.method_state["refreshed"]) == times
    assert len(set(np.asarray(whole.state.method_state["labels"]))) == CLASSES
    with pytest.raises(Killed):  # within the second epoch
        train(made, tmp_path / "killed", until=every + 4)
    again, more = train(made, tmp_path / "killed")
    assert 0 < more < times
    jax.tree.map(np.testing.assert_array_equal, again.state, whole.state)


def test_what_is_reset_begins_anew_and_nothing_else(made):
    prog, _ = made
    params = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), prog.abstract_state().params)
    optimizer, fresh = prog.optimizer, prog.optimizer.init(params)
    _, moved = optimizer.update(params, fresh, params)
    after = optim.reset(moved, fresh, params, ("classifier",))
    for (path, old), new, begun in zip(
        jax.tree_util.tree_leaves_with_path(moved), jax.tree.leaves(after), jax.tree.leaves(fresh)
    ):
        mine = "classifier" in jax.tree_util.keystr(path)
        np.testing.assert_array_equal(new, begun if mine else old)
    assert optax.tree.norm(moved) > optax.tree.norm(after)


def test_lengths_in_words():
    clock = durations.Clock(num_examples=1000, batch_size=64, total_steps=200)
    assert [durations.parse(text, clock) for text in ("", "1 epoch", "2 epochs", "7 steps", "10 percent")] == [
        0, 16, 32, 7, 20
    ]  # fmt: skip
    for text in ("epoch", "0 steps", "1 week", "-1 steps"):
        with pytest.raises(UserError, match="cannot read the length"):
            durations.parse(text, clock)
