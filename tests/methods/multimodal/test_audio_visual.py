"""Audio-visual correspondence: the classifier of pairs, silence, LiT's sibling `load`, and runs on digits and tones."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jssl
from jssl import embed, evaluation, models
from jssl.configs import audio_visual, s4l
from jssl.data import sources
from jssl.data.sources.paired_digits import COLUMN_HERTZ, ROW_HERTZ, TONE_RATE
from jssl.data.streams import DataInfo
from jssl.errors import UserError
from jssl.methods import Context, default_settings
from jssl.methods.multimodal.audio_visual import AudioVisual, distance
from jssl.report import tables
from jssl.runs.restore import open_run
from jssl.train import program
from tests.conftest import tiny

ROWS = 8
ENCODER = models.encoder({"name": "convnet", "convnet": {"width": 4, "strides": (2,)}})
SIZES = {"hidden_dim": 8, "proj_dim": 6, "sound_width": 4, "sound_strides": (2,)}
CONTEXT = Context(jax.random.key(1), jnp.zeros((), jnp.int32), jnp.zeros(()))


def method(**changes):
    return AudioVisual(encoder=ENCODER, **{**SIZES, **changes})


def batch(rows=ROWS):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.uniform(size=(rows, 8, 8, 3)), jnp.float32)
    sounds = jnp.asarray(rng.normal(size=(rows, 6, 10, 1)), jnp.float32)
    return {"unlabeled": {"views": {"first": (images,)}, "audio": sounds}}


def test_the_distance_is_that_of_unit_vectors():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 7))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
    expected = np.linalg.norm(unit[0] - unit[1], axis=1)
    np.testing.assert_allclose(distance(jnp.asarray(a), jnp.asarray(b))[:, 0], expected, rtol=1e-5)
    gradient = jax.grad(lambda x: distance(x, jnp.asarray(a)).sum())(jnp.asarray(a))
    assert np.isfinite(gradient).all()  # where they are one


def test_nearer_pairs_are_likelier_whatever_is_learnt():
    own = method()
    near, far = jnp.array([[1.0, 0.1]]), jnp.array([[-1.0, 0.1]])
    for scale, threshold in ((-3.0, 0.2), (2.0, 1.9)):
        params = {"pair_classifier": {"scale": jnp.float32(scale), "threshold": jnp.float32(threshold)}}
        logits = [own.pair_logits(params, jnp.array([[1.0, 0.0]]), other) for other in (near, far)]
        assert logits[0][0, 1] > logits[1][0, 1]


@pytest.mark.parametrize("fusion", ["distance", "concat"])
def test_the_loss_is_the_cross_entropy_of_own_and_next_sounds(fusion):
    own = method(fusion=fusion)
    data = batch()
    params, state = jax.jit(own.init)(jax.random.key(0), data)
    value, grads = jax.jit(jax.value_and_grad(lambda p: own.loss(p, state, data, CONTEXT)[0]))(params)
    seen, _ = own.forward(params, state["stats"], data["unlabeled"]["views"]["first"][0], key=CONTEXT.key)
    heard, _ = own.forward_beside(params, state["stats"], data["unlabeled"]["audio"])
    a, b = (np.asarray(list(found.values())[-1]) for found in (seen, heard))
    losses = []
    for row in range(ROWS):
        for other, label in ((row, 1), ((row + 1) % ROWS, 0)):
            logits = np.asarray(own.pair_logits(params, a[row : row + 1], b[other : other + 1]), np.float64)[
                0
            ]
            losses.append(np.log(np.exp(logits).sum()) - logits[label])
    assert float(value) == pytest.approx(np.mean(losses), rel=1e-4)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert abs(grad).max() > 0, jax.tree_util.keystr(path)


def test_the_embedding_of_a_place_is_that_of_an_image_of_one_place():
    own = method()
    data = batch()
    params, state = jax.jit(own.init)(jax.random.key(0), data)
    outputs = jax.jit(own.outputs)
    images = data["unlabeled"]["views"]["first"][0]
    assert outputs(params, state, images)["embedding_map"].shape == (ROWS, 4, 4, 6)
    found = outputs(params, state, images[:, :2, :2])
    np.testing.assert_allclose(found["embedding_map"][:, 0, 0], found["embedding"], rtol=1e-5, atol=1e-6)
    assert "embedding_map" not in jax.eval_shape(
        method(fusion="concat").outputs,
        *jax.eval_shape(method(fusion="concat").init, jax.random.key(0), data),
        images,
    )


def test_bad_batches_are_named():
    data = batch()
    with pytest.raises(UserError, match=r"needs sound: set data\.audio\.enabled=True"):
        method().check({"unlabeled": {"views": data["unlabeled"]["views"]}})
    with pytest.raises(UserError, match="batch of two or more"):
        method().check(batch(1))
    twice = {**data["unlabeled"], "views": {"first": data["unlabeled"]["views"]["first"] * 2}}
    with pytest.raises(UserError, match="takes one view"):
        method().check({"unlabeled": twice})


def test_tones_are_those_of_the_keys():
    tones = sources.digit_tones()
    keys = ["123", "456", "789", "*0#"]
    for split, source in tones.items():
        waves = source.sounds().astype(np.float64)
        assert waves.shape == (len(source), 3200)
        power = np.abs(np.fft.rfft(waves)) ** 2
        hertz = np.fft.rfftfreq(3200, 1 / TONE_RATE)
        known = np.array(
            [[power[row, abs(hertz - f) < 15].sum() for f in ROW_HERTZ] for row in range(len(source))]
        )
        rows = known.argmax(axis=1)
        known = np.array(
            [[power[row, abs(hertz - f) < 15].sum() for f in COLUMN_HERTZ] for row in range(len(source))]
        )
        columns = known.argmax(axis=1)
        right = [keys[r][c] == str(label) for r, c, label in zip(rows, columns, source.labels())]
        assert np.mean(right) > 0.99, split
    train = tones["train"].take(np.array([5, 3]))
    np.testing.assert_array_equal(train.sounds(), tones["train"].sounds()[[5, 3]])
    assert train.sound_rate == TONE_RATE
    with pytest.raises(UserError, match=r"sound must be int16\[360, samples\]"):
        tones["test"].with_sounds(np.zeros((360, 5)), 8000)


def tiny_tones(**data):
    config = tiny(audio_visual.get_config())
    config.data.audio.update(data)
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("av") / "run"
    return jssl.run(tiny_tones(), folder), folder


def test_a_run_hears_and_is_loaded(finished):
    result, folder = finished
    assert {
        "correspondence/accuracy",
        "retrieval/image_to_sound/r1",
        "retrieval/chance_r1",
    } <= result.values.keys()
    assert result["retrieval/chance_r1"] == pytest.approx(0.1, abs=0.01)
    model, tones = jssl.load(folder), sources.digit_tones()["test"]
    features = model.audio(tones.sounds()[:5])
    assert features.shape[0] == 5
    images = tones.gather(np.arange(5))["image"]
    assert model.audio(tones.sounds()[:5], "embedding").shape == model.embedding(images).shape
    with pytest.raises(UserError, match=r"audio takes int16\[N, 3200\]"):
        model.audio(np.zeros((2, 3200), np.float32))
    assert model.audio(tones.sounds()[:0]).shape[0] == 0
    for wrong in ({"output": "bogus"}, {"waves": [[1], [2, 3]]}):
        with pytest.raises(UserError):
            model.audio(**{"waves": tones.sounds()[:2], **wrong})
    with pytest.raises(UserError, match="read no captions"):
        model.text(["seven"])


def test_features_of_sounds_are_evaluated_and_embedded(finished):
    result, folder = finished
    assert "audio knn" in tables.table(result.values)
    model, tones = jssl.load(folder), sources.digit_tones()
    train, test = (embed.of_sounds(model, source) for source in (open_run(folder)[1].train, tones["test"]))
    np.testing.assert_array_equal(test.x[:5], model.audio(tones["test"].sounds()[:5]))
    found = evaluation.knn(train.x, train.labels, test.x, test.labels)
    assert result["audio_knn/top1"] == pytest.approx(found["top1"], abs=1e-3)
    other = tones["test"].source.with_sounds(tones["test"].sounds(), 16000)
    with pytest.raises(UserError, match="16000 samples a second, that of the run 8000"):
        embed.of_sounds(model, other)
    with pytest.raises(UserError, match="have no sound"):
        embed.of_sounds(model, tones["test"].source)
    with pytest.raises(UserError, match="read no captions"):
        embed.of_captions(model, tones["test"].source.with_captions(["x"] * 360))


def test_sounds_that_are_all_alike_tell_nothing(finished, tmp_path):
    """Silence, beside images that differ: a classifier that read anything else would do better than a half."""
    silent = {
        split: source.source.with_sounds(np.zeros((len(source), 3200), np.int16), TONE_RATE)
        for split, source in sources.digit_tones().items()
    }
    result = jssl.run(tiny_tones(noise=0.0), tmp_path / "silent", data=silent)
    assert result["correspondence/accuracy"] == 0.5
    assert result["retrieval/image_to_sound/r1"] == 0


def test_what_is_wrong_is_said_before_a_folder_is_made(tmp_path):
    for changes, words in (
        ({"rate": 16000}, "has 8000 samples a second"),
        ({"enabled": False}, "needs sound"),
        ({"window": 0}, "window"),
        ({"fft": 300}, "fft=300 must be at least window=512"),
        ({"high": 5000.0}, "up to half the rate"),
        ({"bands": 5000}, "has only 257 frequencies"),
        ({"mean": float("nan")}, "mean=nan must be a finite number"),
        ({"fft": 4096}, "fewer than one transform takes"),
    ):
        with pytest.raises(UserError, match=words):
            jssl.run(tiny_tones(**changes), tmp_path / "run")
    tones = sources.digit_tones()
    for sounds, rate in ((tones["test"].sounds(), 44100), (tones["test"].sounds()[:, :300], TONE_RATE)):
        other = {**tones, "test": tones["test"].source.with_sounds(np.ascontiguousarray(sounds), rate)}
        with pytest.raises(UserError, match="the sound of 'test' is not as that of 'train'"):
            jssl.run(tiny_tones(), tmp_path / "run", data=other)
    config = tiny_tones()
    config.data.unlabeled.add = "digits"
    with pytest.raises(UserError, match="cannot be added to those with captions or sound"):
        jssl.run(config, tmp_path / "run")
    config = tiny_tones()
    config.data.name = "digits"
    with pytest.raises(UserError, match="the images of digits have no sound"):
        jssl.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_l3_net_has_no_common_space(tmp_path):
    config = tiny_tones()
    config.method.fusion = "concat"
    result = jssl.run(config, tmp_path / "run")
    assert "correspondence/accuracy" in result.values
    assert not [name for name in result.values if name.startswith("retrieval")]


def test_gradient_cache_passes_both_towers_in_parts():
    parts = dataclasses.replace(method(), encoder=dataclasses.replace(ENCODER, chunks=2))
    assert parts.towers["sound"].chunks == 2


def test_it_is_a_term_of_a_semi_supervised_loss(mesh1):
    """Its classifier of pairs is none of classes."""
    config = tiny(s4l.get_config("rotation"))
    given = {key: config.method.terms.rotation[key] for key in ("weight", "ramp")}
    given["views"] = tuple(config.data.unlabeled.views)[:1]
    config.method.terms = {"audio_visual": {**default_settings("audio_visual"), **SIZES, **given}}
    config.data.audio.update(audio_visual.get_config().data.audio)
    info = DataInfo(160, (8, 8, 1), 1, 10, 32, audio_samples=3200)
    program.make_program(config, info, mesh1).trace()
