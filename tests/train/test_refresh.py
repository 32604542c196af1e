"""A method that is refreshed by the loop: the data set is labelled anew every epoch, and a kill within it changes
nothing."""

import dataclasses
import logging
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from etils import epath

import jssl
from jssl import losses, models
from jssl.data.datasets import open_data
from jssl.errors import UserError
from jssl.methods import METHODS, Method, Output, Refreshed
from jssl.methods.base import ViewRef, get_view
from jssl.methods.clustering.deepcluster import DeepCluster
from jssl.runs import run
from jssl.runs.extract import UnlabeledExtract
from jssl.runs.restore import open_run
from jssl.train import durations, loop, optim, program
from jssl.train.metrics_file import read_lines
from jssl.train.signals import Interrupted
from tests.commands import TINY, called, numbers, started
from tests.conftest import tiny, tiny_config
from tests.holds import Hold

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


def test_adam_begins_anew_too_where_all_of_its_moments_do(made):
    """Its bias correction, without which the first steps would be several times too long."""
    prog, _ = made
    params = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), prog.abstract_state().params)
    grads = jax.tree.map(lambda x: 0.01 * jnp.ones_like(x), params)
    update = jax.jit(prog.optimizer.update)
    fresh = prog.optimizer.init(params)
    _, expected = update(grads, fresh, params)
    state = fresh
    for _ in range(40):
        _, state = update(grads, state, params)
    _, after = update(grads, optim.reset(state, fresh, params, ("classifier",)), params)
    counts = [x.count for x in adams(after)], [x.count for x in adams(expected)]
    assert sorted(map(int, counts[0])) == [1, 41]
    assert set(map(int, counts[1])) == {1}
    for one, other in zip(adams(after), adams(expected)):
        if int(one.count) == 1:
            jax.tree.map(np.testing.assert_array_equal, one, other)


def adams(state):
    """The states of Adam in that of an optimiser."""
    leaves = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, optax.ScaleByAdamState))
    return [x for x in leaves if isinstance(x, optax.ScaleByAdamState)]


def test_a_signal_within_a_refresh_stops_at_once_and_the_refresh_is_made_again(tmp_path, monkeypatch):
    config = tiny(jssl.get_config("deepcluster:digits"))
    config.method.reassign_every, config.data.train = "4 steps", "train[:160]"
    config.total_steps, config.checkpoint.every_steps = 9, 3
    jssl.run(config, tmp_path / "whole")
    refresh, calls = DeepCluster.refresh, []

    def signalled(*args):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return refresh(*args)

    with monkeypatch.context() as patch:
        patch.setattr(DeepCluster, "refresh", signalled)
        with pytest.raises(Interrupted, match="saved at step 4"):
            jssl.run(config, tmp_path / "run")
    jssl.run(config, tmp_path / "run")
    whole, stopped = (
        numbers(read_lines(epath.Path(tmp_path / name / "metrics.jsonl"))) for name in ("whole", "run")
    )
    assert whole == stopped
    jax.tree.map(
        np.testing.assert_array_equal, open_run(tmp_path / "whole")[2], open_run(tmp_path / "run")[2]
    )


def test_lengths_in_words():
    clock = durations.Clock(num_examples=1000, batch_size=64, total_steps=200)
    assert [durations.parse(text, clock) for text in ("", "1 epoch", "2 epochs", "7 steps", "10 percent")] == [
        0, 16, 32, 7, 20
    ]  # fmt: skip
    for text in ("epoch", "0 steps", "1 week", "-1 steps"):
        with pytest.raises(UserError, match="cannot read the length"):
            durations.parse(text, clock)


def test_a_kill_within_a_refresh_changes_nothing(tmp_path):
    """SIGKILL when the second has clustered, and nothing of it is used yet."""
    command = (
        "--config=configs/deepcluster.py",
        *(each for each in TINY if "second" not in each),
        "--config.total_steps=12",
        "--config.method.reassign_every=4 steps",
        "--config.method.clusters=8",
        "--config.method.pca_dim=4",
        "--config.method.proj_hidden_dim=8",
        "--config.method.proj_dim=8",
        "--config.log.every_steps=1",
        "--config.checkpoint.every_steps=2",
    )
    whole, folder = tmp_path / "whole", tmp_path / "run"
    status, _, err = called(*command, f"--workdir={whole}")
    assert status == 0, err
    second = folder / "checkpoints" / "2"  # by the time of the fourth step's it is whole
    hold = Hold("jssl.train.optim:reset", tmp_path / "held", once=second)
    with started(*command, f"--workdir={folder}", holds=[hold]) as child:
        hold.wait(child)
        child.kill()
        child.wait()
    assert not (folder / "checkpoints" / "6").exists()
    status, _, err = called(*command, f"--workdir={folder}")
    assert status == 0, err
    lines = [numbers(read_lines(epath.Path(path / "metrics.jsonl"))) for path in (whole, folder)]
    assert lines[0] == lines[1]
    refreshed = [line["step"] for line in lines[0] if "clusters/entropy" in line]
    assert refreshed == [1, 5, 9]
    jax.tree.map(np.testing.assert_array_equal, open_run(whole)[2], open_run(folder)[2])


@pytest.mark.parametrize("equal_sizes", [True, False])
def test_without_equal_sizes_one_cluster_takes_all_images_and_the_alarm_says_so(
    equal_sizes, tmp_path, caplog
):
    config = tiny(jssl.get_config("sela:digits"))
    config.method.update({"num_heads": 1, "clusters": 4, "reassign_every": "12 times"})
    config.method.equal_sizes = equal_sizes
    config.total_steps, config.optim.lr, config.data.train = 48, 0.02, "train[:160]"
    with caplog.at_level(logging.WARNING, logger="absl"):
        jssl.run(config, tmp_path / "run")
    shares = [
        line["clusters/largest_fraction"]
        for line in read_lines(epath.Path(tmp_path / "run" / "metrics.jsonl"))
        if "clusters/largest_fraction" in line
    ]
    assert len(shares) == 12
    said = "nearly all images are in one cluster. Likely causes: method.equal_sizes=False" in caplog.text
    assert said != equal_sizes
    assert (max(shares[1:]) < 0.5) == equal_sizes, shares
