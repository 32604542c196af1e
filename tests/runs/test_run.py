"""Whole runs in this process: what is written, what is resumed, what is refused."""

import errno
import json
import logging
import pathlib
import shutil
import signal

import jax
import ml_collections
import numpy as np
import pytest
from etils import epath

import jssl
from jssl import evaluation
from jssl.errors import NotFinite, TryAgain, UserError, may_pass
from jssl.evaluation import suite
from jssl.runs import workdir
from jssl.runs.restore import open_run
from jssl.train import checkpoint, loop
from jssl.train.program import Program
from jssl.train.signals import Interrupted
from tests.commands import numbers
from tests.conftest import tiny_config
from tests.holds import stop_after

FULL = {
    "total_steps": 12,
    "evals__every_steps": 4,
    "evals__linear__enabled": True,
    "evals__health__enabled": True,
    "evals__knn__k": 0,
    "evals__baselines": True,
    "evals__per_class": (2,),
    "evals__draws": 2,
    "log__pictures": True,
    "log__tensorboard": True,
    "log__progress": True,
    "checkpoint__every_steps": 4,
    "evals__online": True,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run with everything on."""
    folder = tmp_path_factory.mktemp("run") / "full"
    result = jssl.run(tiny_config(**FULL), folder)
    return folder, result


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def params_of(folder):
    return jax.device_get(open_run(folder)[2])


def same(a, b):
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b)):
        np.testing.assert_array_equal(x, y, err_msg=str(path))


def test_what_a_run_leaves(finished):
    folder, result = finished
    for name in ("views", "curves", "features", "neighbours"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "result.json").read_text()) == result.values
    assert "of the test set right" in (folder / "report.html").read_text()
    assert result["knn/k"] in (1, 5, 20)
    for name in ("knn/top1", "linear/top1", "linear/top5", "linear_2_per_class/top1_std", "pixels/linear/top1",
                 "untrained/knn/top1", "images_per_second", "seconds", "waiting_for_data"):  # fmt: skip
        assert np.isfinite(result[name]), name
    assert result["pixels/linear/top1"] > 0.8  # digits are easy
    assert 0 <= result["waiting_for_data"] < 1
    assert "test set" in str(result)
    assert "untrained encoder" in str(result)
    written = lines(folder)
    trained = [line for line in written if "loss" in line]
    assert [line["step"] for line in trained] == [1, 2, 4, 6, 8, 10, 12]
    for name in ("lr", "grad_norm", "epoch", "images_per_second", "bad_images", "online/top1",
                 "contrastive/accuracy", "embedding/std", "embedding/effective_rank"):  # fmt: skip
        assert all(np.isfinite(line[name]) for line in trained), name
    assert [line["step"] for line in written if "val/knn/top1" in line] == [4, 8]
    assert list((folder / "tensorboard").iterdir())
    splits = json.loads((folder / "splits.json").read_text())
    assert splits["train"] + splits["val"] == 1437
    assert splits["test"] == 360


def test_a_finished_run_is_only_read(finished):
    folder, result = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert jssl.run(tiny_config(**FULL), folder).values == result.values
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_another_config_is_refused_and_touches_nothing(finished):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    changed = {**FULL, "optim__lr": 0.5, "method__temperature": 0.3}
    with pytest.raises(
        UserError, match=r"method.temperature: 0.1 there, 0.3 now; optim.lr: 0.001 there, 0.5 now"
    ):
        jssl.run(tiny_config(**changed), folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_load_gives_the_encoder_of_the_evaluators(finished):
    folder, _ = finished
    encoder = jssl.load(folder)
    program, data, state = open_run(folder)
    images = data.test.images[:16]
    features = encoder(images)
    assert features.shape == (16, 4)
    np.testing.assert_array_equal(features, program.features(state.params, state.method_state, images))
    np.testing.assert_allclose(features[:8], encoder(images[:8]), rtol=1e-5, atol=1e-6)
    doubled = images.repeat(2, axis=1).repeat(2, axis=2)  # another size is resized
    assert encoder(doubled).shape == (16, 4)
    for wrong in (images / 255.0, images[0], images.repeat(3, axis=-1)):
        with pytest.raises(UserError, match="the encoder takes uint8"):
            encoder(wrong)


def test_evaluating_again_gives_the_same_numbers(finished):
    folder, result = finished
    program, data, state = open_run(folder)
    again = evaluation.suite.Suite(program, data).final(state).values
    for name, value in again.items():
        np.testing.assert_allclose(value, result[name], atol=1e-6, err_msg=name)


def test_stop_and_resume_is_as_never_stopped(tmp_path, monkeypatch, finished):
    """SIGTERM in mid-run saves; the next run ends in the very state, and the very lines, of one run."""
    less = {"log__pictures": False, "log__tensorboard": False, "evals__per_class": (), "evals__knn__k": 20,
            "evals__baselines": False}  # fmt: skip
    whole = {**FULL, **less}
    jssl.run(tiny_config(**whole), tmp_path / "whole")
    seen = []

    def stop_at_five(self, step):
        seen.append(step)
        if step == 5:
            signal.raise_signal(signal.SIGTERM)  # which has come when this returns
        return False

    with monkeypatch.context() as patch:
        patch.setattr(loop.Timer, "saves", stop_at_five)
        with pytest.raises(Interrupted) as stopped:
            jssl.run(tiny_config(**whole), tmp_path / "parts")
    assert stopped.value.step == 6
    jssl.run(tiny_config(**whole), tmp_path / "parts")
    same(params_of(tmp_path / "whole"), params_of(tmp_path / "parts"))
    volatile = {"images_per_second", "waiting_for_data", "flops_per_second"}
    for a, b in zip(lines(tmp_path / "whole"), lines(tmp_path / "parts"), strict=True):
        assert {k: v for k, v in a.items() if k not in volatile} == {
            k: v for k, v in b.items() if k not in volatile
        }


def test_an_evaluation_that_a_signal_breaks_off_or_puts_off_is_made_when_the_run_goes_on(
    tmp_path, monkeypatch
):
    config = tiny_config(
        total_steps=8, evals__every_steps=3, evals__every_percent=0.0, evals__baselines=False
    )
    jssl.run(config, tmp_path / "whole")
    extract = suite.extract_source

    def signalled(*args):
        signal.raise_signal(signal.SIGTERM)
        return extract(*args)

    def stop_at_five(self, step):
        if step == 5:
            signal.raise_signal(signal.SIGINT)
        return False

    for step, owner, name, function in (
        (3, suite, "extract_source", signalled),
        (6, loop.Timer, "saves", stop_at_five),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, function)
            with pytest.raises(Interrupted, match=f"saved at step {step}"):
                jssl.run(config, tmp_path / "parts")
        assert "val/knn/top1" not in lines(tmp_path / "parts")[-1]
    jssl.run(config, tmp_path / "parts")
    whole, parts = (numbers(lines(tmp_path / name)) for name in ("whole", "parts"))
    assert whole == parts
    assert [line["step"] for line in parts if "val/knn/top1" in line] == [3, 6]
    same(params_of(tmp_path / "whole"), params_of(tmp_path / "parts"))


def data_files(folder):
    """Which of them hold the arrays depends on how orbax merged them."""
    return [path for path in folder.rglob("*") if path.parent.name == "d"]


def truncate(folder):
    for path in data_files(folder):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(folder):
    for path in data_files(folder):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)


def remove(folder):
    for path in data_files(folder):
        path.unlink()


@pytest.fixture(scope="module")
def half_done(tmp_path_factory):
    """A run of which the last checkpoint was lost after step 6: those of 4 and 6 are there."""
    folder = tmp_path_factory.mktemp("half") / "run"
    config = tiny_config(total_steps=8, checkpoint__keep_last=3)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 6)
        with pytest.raises(Interrupted):
            jssl.run(config, folder)
    return folder, config


@pytest.fixture(scope="module")
def went_on(half_done, tmp_path_factory):
    """The state of that run when it has gone on from its last checkpoint."""
    folder, config = half_done
    copy = tmp_path_factory.mktemp("went_on") / "run"
    shutil.copytree(folder, copy)
    jssl.run(config, copy)
    return params_of(copy)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, remove])
def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(half_done, went_on, tmp_path, damage, caplog):
    folder, config = half_done
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    damage(copy / "checkpoints" / "6")
    with caplog.at_level(logging.WARNING, logger="absl"):
        jssl.run(config, copy)
    assert any("checkpoint 6 cannot be read" in record.getMessage() for record in caplog.records)
    assert (copy / "corrupt_checkpoints" / "6").is_dir()  # nothing is lost
    same(params_of(copy), went_on)


def test_when_all_are_damaged_nothing_begins_anew_by_itself(half_done, tmp_path):
    folder, config = half_done[0], ml_collections.ConfigDict(half_done[1].to_dict())
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for step in (copy / "checkpoints").iterdir():
        truncate(step)
    lines_before = (copy / "metrics.jsonl").read_bytes()
    for message in (
        r"none of the checkpoints .* can be read",
        r"all checkpoints of .* were damaged and lie in",
    ):
        with pytest.raises(UserError, match=message):
            jssl.run(config, copy)
    assert (copy / "metrics.jsonl").read_bytes() == lines_before
    shutil.rmtree(copy / "corrupt_checkpoints")
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(UserError, match=r"metrics.jsonl goes to step 6, and there is no checkpoint any more"):
        jssl.run(config, copy)
    config.checkpoint.every_steps = 20  # which a resumed run may have, and knows nothing of the first one's
    with pytest.raises(UserError, match=r"metrics.jsonl goes to step 6, and there is no checkpoint any more"):
        jssl.run(config, copy)
    (copy / "metrics.jsonl").unlink()  # as it says
    assert jssl.run(config, copy)["step"] == 8


def test_a_reading_that_fails_for_now_moves_nothing(half_done, tmp_path, monkeypatch):
    folder, config = half_done
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)

    for error in (
        MemoryError(),
        OSError(errno.EMFILE, "Too many open files"),
        ValueError("RESOURCE_EXHAUSTED: out of memory"),
        ValueError("Error reading local file: Permission denied"),
    ):

        def fails(*args, error=error, **kwargs):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.ocp.CheckpointManager, "restore", fails)
            with pytest.raises(TryAgain, match=r"the checkpoint of step 6 in .* cannot be read for") as found:
                jssl.run(config, copy)
        assert may_pass(found.value), error
        assert not (copy / "corrupt_checkpoints").exists(), error
    assert jssl.run(config, copy)["step"] == 8


def test_what_stands_beside_the_state_is_checked_too(half_done, went_on, tmp_path, caplog):
    folder, config = half_done
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (path,) = (
        path for path in (copy / "checkpoints" / "6" / "extra").rglob("*") if b'"data"' in path.read_bytes()
    )
    text = path.read_text()
    assert '"step": 6' in text
    path.write_text(text.replace('"step": 6', '"step": 7'))
    jssl.run(config, copy)
    assert any("not what was saved" in record.getMessage() for record in caplog.records)
    assert (copy / "corrupt_checkpoints" / "6").is_dir()
    same(params_of(copy), went_on)


def test_a_state_that_is_not_finite_is_neither_saved_nor_loaded(tmp_path, monkeypatch):
    keep = checkpoint.Checkpointer(epath.Path(tmp_path), keep_last=3)
    good, bad = {"a": jax.numpy.arange(3.0)}, {"a": jax.numpy.array([0.0, np.nan, 1.0])}
    keep.save(1, good, {})
    keep.wait()
    with pytest.raises(NotFinite, match=r"the state of step 2 holds .* last intact checkpoint: 1\."):
        keep.save(2, bad, {})
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "verified", lambda state: (checkpoint.fingerprint(state), True))
        other = checkpoint.Checkpointer(epath.Path(tmp_path), keep_last=3)
        other.save(3, bad, {})
        other.wait()
        other.close()
    again = checkpoint.Checkpointer(epath.Path(tmp_path), keep_last=3)
    state, extra = again.restore(jax.eval_shape(lambda: good))
    assert extra["step"] == 1
    np.testing.assert_array_equal(state["a"], good["a"])
    keep.close()
    again.close()


def test_a_gradient_that_is_not_finite_stops_the_run_at_its_step(tmp_path, monkeypatch):
    """The loss is finite then: it is that of the parameters before."""

    def gradient(self, *args):
        value, output, grads = original(self, *args)
        return value, output, jax.tree.map(lambda g: jax.numpy.where(args[3].step == 3, np.nan, g), grads)

    original = Program._gradient
    monkeypatch.setattr(Program, "_gradient", gradient)
    with pytest.raises(NotFinite, match=r"the norm of the gradient became nan at step 4 "):
        jssl.run(tiny_config(), tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["2"]


def test_kept_are_the_last_the_best_and_every_nth(tmp_path):
    keep = checkpoint.Checkpointer(epath.Path(tmp_path), keep_last=2, keep_best=True, keep_every_steps=10)
    state = {"a": jax.numpy.arange(3.0)}
    for step, score in [(4, 0.1), (8, 0.9), (10, None), (12, 0.2), (16, None), (18, 0.3)]:
        keep.save(step, state, {}, score)
    keep.wait()
    assert keep.steps() == [8, 10, 16, 18]
    keep.close()


def test_the_fingerprint_notices_any_bit_and_no_sharding(mesh1, mesh8):
    from jssl import parallel

    tree = {
        "a": np.arange(64, dtype=np.float32),
        "b": np.arange(8) % 3 == 0,
        "c": np.arange(8, dtype=np.int32),
    }
    prints = []
    for mesh in (mesh1, mesh8):
        put = jax.tree.map(lambda x, mesh=mesh: parallel.put_rows(x, mesh), tree)
        prints.append(int(jax.jit(checkpoint.fingerprint)(put)))
    assert prints[0] == prints[1]
    for key in tree:
        changed = {**tree, key: np.flip(tree[key])}
        assert int(checkpoint.fingerprint(jax.tree.map(jax.numpy.asarray, changed))) != prints[0]


def test_the_fingerprint_is_the_sum_that_it_says_leaf_by_leaf():
    """Whatever is computed together: small leaves of one shape, and large ones each by itself."""
    rng = np.random.default_rng(0)
    tree = [
        rng.normal(size=size).astype(np.float32) for size in ((), (3, 4), (checkpoint.SMALL + 1,), (0,)) * 2
    ]
    tree += [rng.integers(0, 2, 12) > 0, rng.integers(0, 99, 12, np.int32), rng.integers(0, 99, 12, np.uint8)]
    expected = 0
    for leaf in tree:
        bits = leaf.ravel().view(np.uint32) if leaf.itemsize == 4 else leaf
        total = sum((number * 2654435761 % 2**32 | 1) * int(x) for number, x in enumerate(bits))
        expected = (expected * 31 + total) % 2**32
    assert checkpoint.verified(tree) == (expected, True)
    for broken in (tree[1], tree[2]):
        broken.flat[-1] = np.inf
        assert not checkpoint.verified(tree)[1]
        broken.flat[-1] = 0


def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_checkpoints(tmp_path):
    config = tiny_config(
        total_steps=10, optim__schedule="step", optim__step_at=(0.45,), optim__step_factor=1e38
    )
    with pytest.raises(
        NotFinite, match=r"the loss became (nan|inf) at step \d+ \(lr=.*Last finite metrics: step="
    ):
        jssl.run(config, tmp_path / "run")
    for leaf in jax.tree.leaves(params_of(tmp_path / "run").params):
        assert np.isfinite(leaf).all()


def test_unlabelled_photos_train_and_say_that_there_are_no_labels(tmp_path, photos, caplog):
    config = tiny_config(
        data__name=str(photos), data__holdout=0.0, log__pictures=True, data__unlabeled__batch_size=8,
        data__unlabeled__views__first__size=16, data__unlabeled__views__second__size=16, evals__batch_size=8,
    )  # fmt: skip
    (photos / "img07.jpg").write_bytes(b"no image")
    config.data.max_bad_fraction = 0.05
    with caplog.at_level(logging.WARNING, logger="absl"):
        result = jssl.run(config, tmp_path / "run")
    text = " ".join(record.getMessage() for record in caplog.records)
    assert "no labels: kNN and linear accuracy are skipped" in text
    assert "img07.jpg" in text
    assert "knn/top1" not in result.values
    assert lines(tmp_path / "run")[-1]["bad_images"] == 1
    for name in ("views", "features", "neighbours"):
        assert (tmp_path / "run" / f"{name}.png").exists()
    encoder = jssl.load(tmp_path / "run")
    from jssl.data import sources

    features = encoder.embed(sources.load(str(photos), "train"))
    assert features.x.shape == (23, 4)
    assert 7 not in features.index


def test_where_a_run_is_computed_may_change_and_what_not(tmp_path):
    workdir.prepare(epath.Path(tmp_path / "run"), tiny_config())
    elsewhere = {
        "mesh__fsdp": True,
        "method__similarity": "ring",
        "encoder__vit__scan": True,
        "data__workers": 1,
    }
    workdir.check(epath.Path(tmp_path / "run"), tiny_config(**elsewhere))
    with pytest.raises(UserError, match=r"another config \(method.temperature: 0.1 there, 0.2 now\)"):
        workdir.check(epath.Path(tmp_path / "run"), tiny_config(method__temperature=0.2, **elsewhere))


def test_a_run_goes_on_with_its_own_data_only(tmp_path, photos, monkeypatch):
    config = tiny_config(data__name=str(photos), data__holdout=0.0, data__unlabeled__batch_size=8)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(Interrupted):
            jssl.run(config, tmp_path / "run")
    shutil.copy(photos / "img00.jpg", photos / "img99.jpg")
    with pytest.raises(
        UserError, match=r"the data changed since the run .* began .24 training images then, 25 now"
    ):
        jssl.run(config, tmp_path / "run")
    (photos / "img99.jpg").unlink()
    assert jssl.run(config, tmp_path / "run")["step"] == 6


def test_a_checkpoint_of_other_parameters_is_refused_and_left_alone(half_done):
    folder, config = half_done
    wider = tiny_config(total_steps=8, encoder__convnet__width=8)
    before = sorted(folder.rglob("*"))
    with pytest.raises(
        UserError, match=r"holds other parameters .*bn0/bias: float32\[4\] there, float32\[8\] now"
    ):
        open_run(folder, wider)
    assert sorted(folder.rglob("*")) == before
    assert int(open_run(folder, config, step=4)[2].step) == 4
    with pytest.raises(UserError, match="no checkpoint of step 5, only of 2, 4, 6"):
        open_run(folder, config, step=5)


def test_a_run_whose_optimiser_kept_other_things_can_be_looked_at(half_done):
    folder, config = half_done
    found = open_run(folder, tiny_config(total_steps=8, optim__name="lars"))[2]
    expected = open_run(folder, config)[2]
    assert found.opt_state is None
    jax.tree.map(np.testing.assert_array_equal, (found.step, found.params), (expected.step, expected.params))


def test_too_many_unreadable_photos_stop_the_run(tmp_path, photos):
    for number in range(6):
        (photos / f"img{number:02}.jpg").write_bytes(b"no image")
    config = tiny_config(data__name=str(photos), data__holdout=0.0, data__unlabeled__batch_size=8)
    with pytest.raises(UserError, match=r"images are unreadable .*max_bad_fraction"):
        jssl.run(config, tmp_path / "run")


def test_few_labels_train_the_probe_with_those_only(tmp_path):
    config = tiny_config(evals__baselines=True, data__labels="5 per class", evals__linear__enabled=True)
    result = jssl.run(config, tmp_path / "run")
    splits = json.loads((tmp_path / "run" / "splits.json").read_text())
    assert len(splits["visible_labels"]) == 50
    assert result["pixels/linear/top1"] < 0.93  # all labels give .95


def test_the_sgd_protocol(tmp_path):
    config = tiny_config(evals__sgd__enabled=True, evals__sgd__epochs=3.0, evals__sgd__batch_size=64)
    config.encoder.convnet.width, config.encoder.convnet.strides = 16, (1, 2)
    config.evals.knn.enabled = False
    config.evals.sgd.view, config.evals.sgd.lr = config.data.unlabeled.views.first.to_dict(), 1.0
    result = jssl.run(config, tmp_path / "run")
    assert 0.2 < result["sgd/top1"] <= result["sgd/top5"] <= 1


@pytest.mark.parametrize("kind", ["file", "other"])
def test_a_folder_that_holds_something_else_is_refused(tmp_path, kind):
    folder = tmp_path / "mine"
    if kind == "file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"is a file|is not empty and holds no run"):
        jssl.run(tiny_config(), folder)
    assert [p.name for p in pathlib.Path(tmp_path).rglob("*")] == (
        ["mine"] if kind == "file" else ["mine", "thesis.tex"]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evals__knn__k": -1}, "k=-1"),
        ({"evals__linear__l2": ()}, r"evals.linear.l2=\(\)"),
        ({"evals__per_class": (0,)}, r"per_class=\(0,\): numbers must be at least 1"),
        ({"evals__per_class": (3,), "data__labels": "2 per class"}, "smallest class has only 2 labels"),
        ({"evals__sgd__enabled": True, "evals__sgd__batch_size": 12}, "evals.sgd.batch_size=12 must be"),
        ({"evals__crop_fraction": 0.0}, "crop_fraction=0.0"),
        ({"evals__batch_size": 12}, "evals.batch_size=12 must be a positive multiple"),
        ({"evals__sgd__enabled": True, "evals__sgd__lr": 0.0}, r"evals\.sgd\.lr=0\.0 must be positive"),
        ({"evals__every_steps": 3, "evals__every_epochs": 1.0}, "given at once"),
        ({"log__every_steps": 0}, "log.every_steps=0"),
        ({"log__wandb": True}, r"log.wandb needs: pip install 'jssl\[wandb\]'"),
        ({"checkpoint__keep_last": 0}, "keep_last=0"),
        ({"checkpoint__keep_every_steps": 3}, "must be a multiple of"),
        ({"data__workers": -1}, "workers=-1"),
        ({"data__labels": "tenth"}, "cannot read the labels 'tenth'"),
        ({"data__holdout": 1.0}, "holdout=1.0"),
        ({"data__test": "nowhere"}, "unknown split 'nowhere'"),
        ({"data__train": "train[:8]"}, "batch_size=16 is larger than the training set of [78] images"),
        ({"data__mean": (0.5, 0.5)}, "mean has 2 numbers for 1 channels"),
    ],
)
def test_mistakes_are_named_before_a_folder_is_made(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        jssl.run(tiny_config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
