"""Stages, and semi-supervised configs as a user runs them, in a few steps of tiny networks."""

import dataclasses
import importlib
import json
import shutil

import jax
import numpy as np
import pytest
from etils import epath
from sklearn.metrics import roc_auc_score

import jssl
from jssl.configs import self_training, semi, supervised
from jssl.data.augment import image_ops
from jssl.data.datasets import open_data, split_fingerprint
from jssl.data.pseudo_labels import PseudoLabels
from jssl.data.pseudo_labels import read as read_pseudo_labels
from jssl.errors import UserError
from jssl.report.result import Result
from jssl.runs import init_from, pseudo_labels, run, stages, supervised_baseline, workdir
from jssl.runs.init_from import begin_with
from jssl.runs.restore import open_run
from jssl.train import loop, program
from jssl.train.signals import Interrupted
from tests.conftest import SMALL_SIZES, tiny

CONFIGS = (
    "fixmatch", "flexmatch", "freematch", "mean_teacher", "mixmatch", "pi_model", "pseudo_label", "s4l", "softmatch",
    "supervised", "uda", "vat",
)  # fmt: skip
STAGED = ("moam", "noisy_student", "self_training", "simclr_semi")


def shrunk(config):
    """As conftest's `tiny`, for every stage, with streams of a few rows."""
    for own in config.stages.values():
        shrunk(own)
    if config.order:
        return config
    labeled = config.data.labeled.batch_size
    unlabeled = config.data.unlabeled.batch_size
    tiny(config)
    config.data.unlabeled.batch_size = 16 if unlabeled else 0
    config.data.labeled.batch_size = 8 if labeled else 0
    for stream in (config.data.labeled, config.data.unlabeled):
        for view in stream.views.values():
            view.update(semi.view(8, copies=min(2, view.copies), brightness=0.4))
    for term in config.method.get("terms", {}).values():
        term.update({key: value for key, value in SMALL_SIZES.items() if term.get(key)})
    return config


def get(name, *preset):
    return shrunk(importlib.import_module(f"jssl.configs.{name}").get_config(*preset))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_semi_supervised_config_is_built_at_every_scale(name, mesh8):
    module = importlib.import_module(f"jssl.configs.{name}")
    for scale in ("digits", "tiny", "cifar10"):
        config = module.get_config(f"rotation,{scale}" if name == "s4l" else scale)
        assert scale in config.name
        config.encoder.name, config.encoder.convnet.strides = "convnet", (2,)
        for stream in (config.data.labeled, config.data.unlabeled):
            stream.batch_size = 16 if stream.batch_size else 0
        shape = (8, 8, 1) if scale == "digits" else (32, 32, 3)
        info = program.DataInfo(1000, shape, shape[-1], 10, 40)
        prog = program.make_program(config, info, mesh8)
        assert ("unlabeled" in prog.streams) == (name != "supervised")
        assert prog.method.classes == 10


def test_a_supervised_baseline_and_a_run_beside_it(tmp_path):
    """The baseline is printed beside the result, which says so if it is worse."""
    config = get("supervised")
    config.evals.online = True  # a probe beside the classifier, on the labelled stream
    baseline = jssl.run(config, tmp_path / "baseline")
    assert any("online/top1" in line for line in baseline.metrics())
    prog, data, state = open_run(tmp_path / "baseline")
    pixels = data.test.images.astype(np.float32) / 255
    own = prog.method.inner.outputs(state.params, state.method_state, pixels)["logits"]
    right = np.mean(np.argmax(own, axis=1) == data.test.labels())
    assert baseline["classifier/top1"] == pytest.approx(right), "its own classifier, not the probe"
    assert not any(
        "pseudo_label/top1" in line for line in baseline.metrics()
    )  # it has no images without labels
    assert {"classifier/worst_class", "classifier/largest_class_fraction", "classifier/of/3"} <= set(
        baseline.values
    )
    config = get("fixmatch")
    config.evals.supervised_baseline = str(tmp_path / "baseline")
    config.evals.every_steps = 2
    result = jssl.run(config, tmp_path / "run")
    assert result["supervised_baseline/classifier/top1"] == baseline["classifier/top1"]
    history = [line["val/classifier/top1"] for line in result.metrics() if "val/classifier/top1" in line]
    assert result["val/classifier/top1_median"] == np.median(history)
    measured = [line for line in result.metrics() if "pseudo_label/top1" in line]
    assert [line["step"] for line in measured] == [2, 4]
    assert result["pseudo_label/top1"] == of_hidden_labels(result.workdir)
    assert "supervised baseline" in str(result)
    assert "\npseudo-labels of unlabelled images: " in str(result)
    worse = Result(result.workdir, {**result.values, "classifier/top1": -0.1})
    assert "UNLABELLED DATA HURT" in str(worse)
    assert ("HURT" in str(result)) == (result["classifier/top1"] < baseline["classifier/top1"])


def of_hidden_labels(folder):
    """The accuracy of a run's classifier on the first 1,000 of a draw of its unlabelled images, by hand."""
    prog, data, state = open_run(folder)
    hidden = np.setdiff1d(np.arange(len(data.train)), data.labeled_indices)
    rows = hidden[np.random.default_rng(0).permutation(len(hidden))[:1000]]
    scores = prog.logits(state.params, state.method_state, data.train.images[rows])
    return pytest.approx(np.mean(np.argmax(np.asarray(scores), axis=1) == data.train.labels()[rows]))


def test_a_semi_supervised_run_that_is_stopped_goes_on_as_if_it_had_not_been(tmp_path, mesh1):
    config = get("flexmatch")
    data = open_data(config)
    prog = program.make_program(config, data.info)
    whole = loop.train(prog, run.train_batches(prog, data), epath.Path(tmp_path / "whole"))

    class Set:
        """An event that SIGTERM set after the third step."""

        def __init__(self):
            self.asked = 0

        def is_set(self):
            self.asked += 1
            return self.asked > 2

    with pytest.raises(Interrupted):
        loop.train(prog, run.train_batches(prog, data), epath.Path(tmp_path / "cut"), terminated=Set())
    again = loop.train(prog, run.train_batches(prog, data), epath.Path(tmp_path / "cut"))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(again.state), jax.device_get(whole.state))


def test_stages_run_in_order_each_resumes_by_itself_and_their_pseudo_labels_are_written(
    tmp_path, monkeypatch
):
    config = shrunk(self_training.get_config("top_k"))
    config.stages.student.pseudo_labels.per_class = 5
    config.stages.student.total_steps = 3
    folder = tmp_path / "run"
    result = jssl.run(config, folder)
    assert result["step"] == 3
    assert result["teacher/step"] == 6
    assert result["student/classifier/top1"] == result["classifier/top1"]
    found = json.loads((folder / "student.pseudo_labels.json").read_text())
    assert found["used"] == sum(found["histogram"]) <= 50
    assert sum(found["histogram_of_visible_labels"]) == 20
    assert 0 <= found["accuracy"] <= 1
    with np.load(folder / "student.pseudo_labels.npz") as arrays:
        assert arrays["confidence"].shape == arrays["index"].shape == (found["used"],)
        assert np.all((arrays["confidence"] >= 0.1) & (arrays["confidence"] <= 1))  # of ten classes
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}

    # Killed between the stages: the first is not run again, the second begins with the same pseudo-labels.
    (folder / "result.json").unlink()
    (folder / "student" / "result.json").unlink()
    before = (folder / "student.pseudo_labels.npz").read_bytes()
    again = jssl.run(config, folder)
    assert (folder / "student.pseudo_labels.npz").read_bytes() == before
    assert (folder / "teacher" / "result.json").stat().st_mtime_ns == times[
        folder / "teacher" / "result.json"
    ]
    assert again["classifier/top1"] == result["classifier/top1"]
    monkeypatch.chdir(tmp_path)
    assert jssl.run(config, "run").values == again.values, "whatever the folder is called"
    moved = tmp_path / "moved" / "elsewhere"
    shutil.copytree(folder, moved)
    shutil.move(folder, tmp_path / "away")
    (moved / "student" / "result.json").unlink()  # so that it is opened, and evaluated anew
    (moved / "result.json").unlink()
    assert jssl.run(config, moved)["classifier/top1"] == again["classifier/top1"]
    shutil.move(tmp_path / "away", folder)
    with pytest.raises(
        UserError, match=r"run holds stages \(teacher, student\), not a run: take one of them, .*student"
    ):
        open_run("run")
    program_, data, state = open_run(folder / "student")
    assert data.info.pseudo_labels == "hard"
    assert data.info.num_labeled == 20 + found["used"]
    assert program_.logits(state.params, state.method_state, data.train.images[:8]).shape == (8, 10)


@pytest.mark.parametrize("scale", ["digits", "tiny", "cifar10"])
@pytest.mark.parametrize("name", STAGED)
def test_staged_configs_name_stages_that_come_before(name, scale):
    config = get(name, f"top_k,{scale}" if name == "self_training" else scale)
    stages.check(config)
    assert len(config.order) > 1
    assert set(config.order) == set(config.stages)
    assert any(own.init_from or own.pseudo_labels.teacher for own in config.stages.values())


def test_a_run_begins_with_the_weights_of_another(tmp_path, monkeypatch):
    config = get("supervised")
    config.method.average = 0.9
    jssl.run(config, tmp_path / "first")
    other, _, trained = open_run(tmp_path / "first")
    config.init_from, config.init_parts = str(tmp_path / "first"), ("encoder", "classifier")
    prog = program.make_program(config, open_data(config).info)
    with monkeypatch.context() as patch:  # the other run's data may be gone
        patch.setattr("jssl.runs.workdir.open_data", lambda *_: pytest.fail("it opens the other run's data"))
        begun = begin_with(config.init_from, config.init_parts, prog, prog.init())
    encoder, stats = other.method.eval_encoder(trained.params, trained.method_state)
    equal = lambda a, b: jax.tree.map(np.testing.assert_array_equal, a, b)  # noqa: E731
    equal(begun.params["encoder"], encoder)
    equal(begun.method_state["stats"]["encoder"], stats)
    equal(begun.method_state["average"]["encoder"], encoder)
    equal(begun.params["classifier"], trained.method_state["average"]["classifier"])

    config.encoder.channels = (0,)
    prog = program.make_program(config, open_data(config).info)
    with pytest.raises(
        UserError, match=r"its encoder sees encoder.channels=\(\), this run's \(0,\): set it so"
    ):
        init_from.check(config.init_from, config.init_parts, prog)
    config.encoder.channels, config.encoder.convnet.width = (), 8
    prog = program.make_program(config, open_data(config).info)
    with pytest.raises(UserError, match="has other shapes"):
        init_from.check(config.init_from, config.init_parts, prog)
    config.init_parts = ("projector",)
    with pytest.raises(UserError, match=r"unknown part in init_parts 'projector'"):
        jssl.run(config, tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_fine_tuning_begins_at_a_layer_of_the_pretrained_head(tmp_path):
    """SimCLR v2: what follows the encoder is, in evaluation, the head's first layer with its statistics."""
    config = get("simclr_semi")
    pretrain, finetune = config.stages.pretrain, config.stages.finetune
    pretrain.total_steps, finetune.encoder.head_layers = 3, (16,)
    jssl.run(pretrain, tmp_path / "pretrain")
    other, data, trained = open_run(tmp_path / "pretrain")
    prog = program.make_program(finetune, open_data(finetune).info)
    begun = begin_with(str(tmp_path / "pretrain"), ("encoder",), prog, prog.init())
    head, stats = trained.params["projector"], trained.method_state["stats"]["projector"]
    images = data.train.images[:8]
    x = np.asarray(other.features(trained.params, trained.method_state, images))
    x = x @ head["dense0"]["kernel"]
    x = (x - stats["bn0"]["mean"]) / np.sqrt(stats["bn0"]["var"] + 1e-5)
    x = np.maximum(x * head["bn0"]["scale"] + head["bn0"]["bias"], 0)
    np.testing.assert_allclose(
        prog.features(begun.params, begun.method_state, images), x, rtol=1e-4, atol=1e-5
    )
    finetune.encoder.head_layers = (16, 16, 8)
    prog = program.make_program(finetune, open_data(finetune).info)
    with pytest.raises(UserError, match=r"head_layers asks for 3 layers .* has bn0, bn1, bn2, dense0"):
        begin_with(str(tmp_path / "pretrain"), ("encoder",), prog, prog.init())


P = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.75, 0.25], [0.7, 0.3]], np.float32)


@pytest.mark.parametrize(
    ("rule", "rows", "weight"),
    [
        ("all", [0, 1, 2, 3, 4], [1] * 5),
        ("threshold", [0, 2, 3], [1] * 3),
        ("top_k_per_class", [0, 2, 3], [1] * 3),
        ("confidence_weighted", [0, 1, 2, 3, 4], [0.9, 0.6, 0.8, 0.75, 0.7]),
    ],
)
def test_rules_choose_pseudo_labels(rule, rows, weight):
    found, weights = pseudo_labels.choose(P.max(axis=1), P.argmax(axis=1), rule, threshold=0.75, per_class=2)
    np.testing.assert_array_equal(found, rows)
    np.testing.assert_allclose(weights, weight)


def test_the_mean_over_crops_and_turns_is_that_of_the_classifier_on_each(mesh1):
    """With pixels that are standardised, by hand, from crops of the pixels as they are."""
    config = get("supervised")
    config.data.mean, config.data.std = (0.4,), (0.2,)
    data = open_data(config)
    prog = program.make_program(config, data.info, mesh1)
    state = prog.init()
    classifier = state.params["classifier"]["dense"]  # a fresh one is almost 0: make it say something
    noise = jax.random.normal(jax.random.key(0), classifier["kernel"].shape)
    state.params["classifier"]["dense"] = {**classifier, "kernel": noise}
    state.method_state.pop("average")
    method = dataclasses.replace(prog.method, average=0.0)
    prog = dataclasses.replace(prog, method=method)
    images = data.train.images[:6]
    total = 0.0
    for top, left in (
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (0, 0),
    ):  # of 7 pixels in 8: the centre is the first corner
        crop = np.stack(
            [
                image_ops.resized_crop(x, top, left, 7, 7, 8, "bilinear")
                for x in (images / 255.0).astype(np.float32)
            ]
        )
        for quarters in range(4):
            pixels = (np.rot90(crop, quarters, axes=(1, 2)) - 0.4) / 0.2
            outputs = method.outputs(state.params, state.method_state, pixels.astype(np.float32))
            total = total + np.asarray(jax.nn.softmax(outputs["logits"]))
    found = prog.logits_of_crops(state.params, state.method_state, images)
    np.testing.assert_allclose(np.exp(found), total / 20, rtol=1e-4, atol=1e-6)
    assert np.ptp(np.exp(found), axis=1).max() > 0.1


def test_rare_classes_are_repeated_the_surest_first():
    p = np.concatenate([P, P[2:3] - [[0.1, -0.1]]]).astype(np.float32)  # a second image of class 1, surer
    rows, weight = pseudo_labels.balanced(p.max(axis=1), p.argmax(axis=1), np.arange(6), np.arange(6.0))
    np.testing.assert_array_equal(rows, [0, 1, 2, 2, 3, 4, 5, 5])
    np.testing.assert_array_equal(weight, rows)


def test_pseudo_labels_come_with_their_targets_and_weights(tmp_path):
    """The labelled stream has true labels first, then pseudo-labels, each with its target and its weight."""
    config = get("supervised")
    config.data.pseudo_labels = str(tmp_path / "pseudo_labels.npz")
    plain = open_data(get("supervised"))
    hidden = np.setdiff1d(np.arange(len(plain.train)), plain.labeled_indices)[:4]
    target = np.random.default_rng(0).dirichlet(np.ones(10), 4).astype(np.float32)
    weight = np.array([0.5, 1.0, 0.25, 0.0], np.float32)
    of = split_fingerprint(plain.train, plain.holdout_indices)
    # The second file has one of an image whose label is shown, too: it does not count.
    for name, index in (
        ("pseudo_labels", hidden),
        ("with_shown", np.append(hidden, plain.labeled_indices[0])),
    ):
        rows = np.arange(len(index)) % 4
        label, confidence = target[rows].argmax(axis=1), target[rows].max(axis=1)
        made = PseudoLabels(index, label, target[rows], weight[rows], confidence, of)
        np.savez(tmp_path / f"{name}.npz", **dataclasses.asdict(made))
    data = open_data(config)
    source, labels, more = data.labeled_stream()
    assert len(source) == 24
    np.testing.assert_array_equal(labels[:20], plain.labeled()[1])
    np.testing.assert_allclose(
        more["target"][np.array([21, 3, 20])], [target[1], np.eye(10)[labels[3]], target[0]]
    )
    np.testing.assert_array_equal(labels[20:], target.argmax(axis=1))
    prog = program.make_program(config, data.info)
    batch = {name: batches[0] for name, batches in run.train_batches(prog, data).items()}
    assert batch["labeled"]["target"].shape == (8, 10)
    np.testing.assert_array_equal(batch["labeled"]["weight"], more["weight"][batch["labeled"]["index"]])

    for place in range(3):  # of the fingerprint: size, content, holdout
        other = of + np.eye(3, dtype=np.int64)[place]
        with pytest.raises(UserError, match=r"keep data, holdout and split_seed the same"):
            read_pseudo_labels(config.data.pseudo_labels, other, 10)
    (tmp_path / "broken.npz").write_bytes(b"PK no archive")
    with pytest.raises(
        UserError,
        match=r"broken.npz cannot be read .*: it must hold index, .*, split_fingerprint",
    ):
        read_pseudo_labels(str(tmp_path / "broken.npz"), of, 10)
    config.data.pseudo_labels = str(tmp_path / "with_shown.npz")
    np.testing.assert_array_equal(open_data(config).pseudo_labels.index, hidden)
    config.data.pseudo_labels = str(tmp_path / "none.npz")
    with pytest.raises(UserError, match="there is no such file"):
        open_data(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"order": ("teacher", "studnet")},
            "unknown stage in order 'studnet': did you mean 'student'",
        ),
        ({"order": ("student", "teacher")}, "does not come before student"),
        (
            {"stages.student.pseudo_labels.rule": "al"},
            "stage student: unknown pseudo_labels.rule 'al': did you mean 'all'",
        ),
        ({"stages.student.pseudo_labels.views": "corners"}, "valid are centre, crops"),
        ({"stages.student.pseudo_labels.threshold": 2.0}, r"threshold=2.0 must be in \[0, 1\]"),
        ({"stages.student.evals.draws": 0}, "evals.draws"),
        ({"stages.student.outliers.score": "enrgy"}, "did you mean 'energy'"),
        ({"stages.student.outliers.inlier_quantile": 0.0}, "inlier_quantile=0.0 must be above 0"),
        ({"stages.student.outliers.teacher": "student"}, "does not come before student"),
        (
            {"stages.student.pseudo_labels.teacher": "teachr"},
            "unknown stage or folder of a run .*'teachr'.*did you mean 'teacher'",
        ),
        (
            {"stages.teacher.evals.classifier.enabled": False},
            "pseudo_labels.teacher=teacher: that stage has no classifier",
        ),
        ({"stages.teacher.data.labels": "all"}, "student has nothing to label: set data.labels"),
        (
            {"stages.student.init_from": "teacher", "stages.teacher.encoder.convnet.width": 8},
            "whose encoder is another: give both the same encoder.convnet",
        ),
    ],
)
def test_mistakes_in_stages_are_told_before_the_first_one_runs(changes, message, tmp_path):
    config = shrunk(self_training.get_config("all"))
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=message):
        jssl.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_and_a_supervised_baseline_that_are_not_there_are_told_before_anything_runs(tmp_path):
    config = shrunk(supervised.get_config())
    config.init_from = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match="nowhere holds no run"):
        jssl.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    config.init_from = ""
    config.evals.supervised_baseline = str(tmp_path / "nothing")
    with pytest.raises(UserError, match="run the supervised baseline first"):
        jssl.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_of_no_class_are_added_and_a_stage_takes_them_out(tmp_path):
    """Noise among digits (which a network of this size takes for digits: what counts is that the figures are right)."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "noise.npz", images=noise)
    teacher, student = get("supervised"), get("pseudo_label")
    teacher.data.labels, teacher.total_steps = "all", 60
    teacher.method.average = 0.0
    student.data.unlabeled.add = str(tmp_path / "noise.npz")
    student.outliers.update({"teacher": "teacher", "inlier_quantile": 0.9})
    config = semi.staged("filtered", {"teacher": teacher, "student": student})
    result = jssl.run(config, tmp_path / "run")
    assert result["pseudo_label/top1"] > 0  # among images of the classes alone
    found = json.loads((tmp_path / "run" / "student.inliers.json").read_text())
    whole = open_data(student)
    assert found["images"] == len(whole.unlabeled_pool) == len(whole.train) + 200
    assert found["added"] == 200
    program_, known, state = open_run(tmp_path / "run" / "teacher")
    logits = [
        np.asarray(program_.logits(state.params, state.method_state, x.images))
        for x in (whole.unlabeled_pool, known.val)
    ]
    stream, held = (np.log(np.exp(x.astype(np.float64)).sum(axis=1)) for x in logits)
    inside = np.arange(len(stream)) < len(whole.train)
    assert found["auroc"] == pytest.approx(roc_auc_score(inside, stream), abs=1e-4)
    assert abs(found["inliers"] - (stream >= np.quantile(held, 0.1)).sum()) <= 1
    assert found["inliers"] - found["added_inliers"] == pytest.approx(0.9 * len(whole.train), rel=0.1)
    _, data, _ = open_run(tmp_path / "run" / "student")
    source, labels = data.unlabeled()
    assert len(source) == len(labels) == data.info.num_examples == found["inliers"]
    np.testing.assert_array_equal(source.images, whole.unlabeled_pool.images[data.inliers])
    added = data.inliers >= len(whole.train)
    assert (labels[added] == -1).all()
    np.testing.assert_array_equal(labels[~added], whole.train_labels()[data.inliers[~added]])


def test_a_supervised_baseline_of_other_labels_is_refused(tmp_path):
    config = get("supervised")
    data = open_data(config)
    workdir.write_splits(epath.Path(tmp_path), data)
    supervised_baseline.check(str(tmp_path), data)
    config.data.labels = "3 per class"
    with pytest.raises(UserError, match="is no baseline of this run: its visible_labels differ"):
        supervised_baseline.check(str(tmp_path), open_data(config))


def test_stages_whose_data_differ_are_told_before_the_first_one_runs():
    config = get("self_training")
    config.stages.student.data.name = "elsewhere"
    with pytest.raises(
        UserError, match=r"stages\.student\.data\.name='elsewhere' differs from that of its teacher"
    ):
        stages.check(config)
