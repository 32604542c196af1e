"""Health on a fixed batch: what is measured, on which images, on any mesh."""

import dataclasses

import jax
import numpy as np
import pytest

from jssl import config as schema
from jssl import metrics, parallel, rng
from jssl.data import augment, sources
from jssl.data.augment.view_spec import ViewSpec
from jssl.data.datasets import Data, open_data
from jssl.errors import UserError
from jssl.evaluation import health, suite
from jssl.evaluation.health import FixedBatch
from jssl.methods import SimCLR
from jssl.train.program import make_program
from tests.conftest import tiny_config

IMAGES = 24
LIDAR = ("health/features/lidar", "health/embedding/lidar")


@dataclasses.dataclass(frozen=True)
class WithPrototypes(SimCLR):
    """A method whose targets are known."""

    def outputs(self, params, state, inputs, modality="image"):
        found = super().outputs(params, state, inputs, modality)
        return {**found, "assignments": jax.nn.softmax(found["embedding"])}


@pytest.fixture(scope="module")
def data():
    """Digits whose labels may not be used."""
    return open_data(tiny_config(data__labels="none"))


def make(data, mesh):
    config = tiny_config(
        evals__baselines=True,
        evals__health__enabled=True,
        evals__health__images=IMAGES,
        method__head_batch_norm=False,
    )
    program = make_program(config, data.info, mesh)
    own = {f.name: getattr(program.method, f.name) for f in dataclasses.fields(program.method)}
    return dataclasses.replace(program, method=WithPrototypes(**own))


@pytest.fixture(scope="module")
def measured(data, mesh8):
    """A suite on eight devices, a state, and what the suite says of it during training."""
    evaluator = suite.Suite(make(data, mesh8), data)
    state = evaluator.program.init()
    return evaluator, state, evaluator.during(state)


def test_health_needs_no_labels_and_is_that_of_two_views_of_the_holdout(measured, data):
    evaluator, state, results = measured
    program = evaluator.program
    rows = np.arange(IMAGES) * len(data.val) // IMAGES
    key = rng.derive(rng.root(0), "health")
    images = np.asarray(evaluator._cache["health"]._images)  # in the pipeline's order; the set is what counts
    assert sorted(map(bytes, images)) == sorted(map(bytes, data.val.images[rows]))
    views = jax.jit(lambda x: augment.views(key, x, program.main.views, program.config.data.mean))(images)
    views = [view for copies in views.values() for view in copies]
    params, method_state = jax.device_get((state.params, state.method_state))
    outputs = [jax.jit(program.method.outputs)(params, method_state, view) for view in views]
    assert {name: results.pop(name) > 1 for name in LIDAR} == dict.fromkeys(LIDAR, True)  # of more views
    for name in ("features", "embedding"):
        z1, z2 = (np.asarray(output[name], np.float64) for output in outputs)
        unit1, unit2 = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (z1, z2))
        cosines = (unit1 @ unit1.T)[~np.eye(IMAGES, dtype=bool)]
        sigma = np.linalg.svd(z1, compute_uv=False)
        p = sigma / sigma.sum() + 1e-7
        want = {
            "std": unit1.std(axis=0).mean() * np.sqrt(z1.shape[1]),
            "rank_me": np.exp(-(p * np.log(p)).sum()),
            "alignment": ((unit1 - unit2) ** 2).sum(axis=1).mean(),
            "uniformity": np.log(np.exp(-2 * (2 - 2 * cosines)).mean()),
            "cosine": cosines.mean(),
            "alpha_req": decay(z1),
            "norm": np.linalg.norm(z1, axis=1).mean(),
        }
        for key, value in want.items():
            np.testing.assert_allclose(results.pop(f"health/{name}/{key}"), value, rtol=2e-3, err_msg=key)
    teacher = jax.nn.softmax(z1)
    for key in ("entropy", "kl_from_uniform", "mutual_information"):
        want = getattr(metrics, key)(teacher)
        np.testing.assert_allclose(results.pop(f"health/teacher/{key}"), want, atol=1e-5)
    assert results == {}  # no accuracy, no score


def decay(z):
    """The slope of the logarithms of eigenvalues 11 to 50 of the covariance, each octave counting alike."""
    eigenvalues = np.linalg.eigvalsh(np.cov(z, rowvar=False))[::-1]
    ranks = np.arange(1, min(len(z), len(eigenvalues)) + 1)
    used = eigenvalues[: len(ranks)] > 1e-12 * eigenvalues[0]
    chosen = (ranks >= 11) & (ranks <= 50) & used
    chosen = chosen if chosen.sum() > 2 else used
    log_ranks, logs = np.log(ranks[chosen]), np.log(eigenvalues[: len(ranks)][chosen])
    return -np.polyfit(log_ranks, logs, 1, w=ranks[chosen] ** -0.5)[0]


def test_views_are_in_turn_of_two_recipes():
    specs = {"first": ViewSpec(16), "second": ViewSpec(16), "local": ViewSpec(8, copies=4)}
    for count, copies in ((2, (1, 1)), (4, (2, 2)), (5, (3, 2))):
        found = health.some_views(specs, count)
        assert tuple(spec.copies for spec in found.values()) == copies
    assert health.some_views({"only": ViewSpec(16)}, 3)["only"].copies == 3


def test_one_device_says_what_eight_say(measured, data, mesh1):
    eight, state, _ = measured
    program = make(data, mesh1)
    on_one = parallel.put_replicated(jax.device_get((state.params, state.method_state)), mesh1)
    moved = dataclasses.replace(state, params=on_one[0], method_state=on_one[1])
    one = FixedBatch(program, data.val, IMAGES)(moved)
    for name, value in eight.during(state).items():
        np.testing.assert_allclose(
            one[name.removeprefix("health/")], value, rtol=1e-4, atol=1e-5, err_msg=name
        )
    assert one["features/alignment"] > 1e-3  # two views, not one twice


def test_the_end_has_the_untrained_encoder_beside_it(measured):
    evaluator, state, _ = measured
    results = evaluator.final(state).values  # which is untrained
    ours = {name: value for name, value in results.items() if name.startswith("health/")}
    assert len(ours) == 19
    assert results == ours | {f"untrained/{name}": value for name, value in ours.items()}
    evaluator.config.baselines = False
    assert evaluator.final(state).values == ours


def test_photos_are_cropped_as_for_training_and_broken_ones_left_out(photos):
    (photos / "img07.jpg").write_bytes(b"no image")
    source = sources.load(str(photos), "train")
    config = tiny_config(
        evals__health__enabled=True, data__unlabeled__batch_size=8, evals__health__images=100
    )
    first = config.data.unlabeled.views.first
    first.update({"size": 16, "crop_area_min": 0.2, "copies": 1})
    config.data.unlabeled.views.second.update(first)
    program = make_program(config, Data(source, None, None, None, np.arange(0)).info)
    measure = FixedBatch(program, source, 100, views=2)
    crops = measure._images
    first, second = (np.asarray(copy) for copies in crops.values() for copy in copies)
    assert first.shape == second.shape == (23, 16, 16, 3)
    assert np.any(first != second)
    state = program.init()
    values = measure(state)
    assert all(np.isfinite(value) for value in values.values())
    assert {name.split("/")[0] for name in values} == {"features", "embedding"}  # no prototypes
    assert measure(state) == values
    assert FixedBatch(program, source.take([6, 7]))(state) == {}  # one readable: no pair


def test_the_two_views_are_of_one_size():
    large, other = ViewSpec(32, copies=2), ViewSpec(32, flip_prob=0.5)
    small, single = ViewSpec(16, copies=6), ViewSpec(32)
    assert health.some_views({"global": large, "local": small}, 2) == {"global": large}
    assert health.some_views({"a": single, "b": other}, 2) == {"a": single, "b": other}
    assert health.some_views({"a": single, "b": small, "c": other}, 2) == {"a": single, "c": other}
    assert health.some_views({"a": single}, 2) == {"a": large}


@pytest.mark.parametrize("best_by", health.LABEL_FREE)
def test_the_best_checkpoint_may_be_chosen_without_labels(measured, best_by):
    evaluator, state, _ = measured
    results = evaluator.during(state)
    score = suite.score_of(results, best_by)
    value = results[f"health/features/{best_by}"]
    assert score == (-abs(value - 1) if best_by == "alpha_req" else value)
    assert suite.score_of(results) is None
    assert suite.score_of({**results, "val/linear/top1": 0.5, "val/knn/top1": 0.25}, "linear") == 0.5


def test_settings_that_cannot_be():
    with pytest.raises(UserError, match=r"evals.health.images=1 must be at least 2"):
        schema.validate(tiny_config(evals__health__enabled=True, evals__health__images=1))
    config = tiny_config(evals__health__enabled=False, data__labels="none")
    data = open_data(config)
    assert suite.Suite(make_program(config, data.info), data).during(None) == {}
    with pytest.raises(UserError, match=r"^unknown checkpoint.best_by 'rank': did you mean 'rank_me'"):
        schema.validate(tiny_config(checkpoint__best_by="rank"))
    config = tiny_config(evals__health__enabled=False, checkpoint__best_by="lidar", data__labels="none")
    with pytest.raises(UserError, match=r"^checkpoint.best_by='lidar': evals.health does not run during"):
        suite.Suite(make_program(config, data.info), data)
