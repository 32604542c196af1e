"""CLIP and SigLIP: the towers, the bounds of the scale, LiT, and runs that name what they never saw."""

import dataclasses
import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jssl
from jssl import embed, losses, models
from jssl.configs import clip, siglip
from jssl.data import sources
from jssl.errors import UserError
from jssl.evaluation.suite import Suite
from jssl.methods import Context
from jssl.methods.multimodal.clip import CLIP, SigLIP
from jssl.models.vit import ViT
from jssl.runs import transfer, workdir
from jssl.runs.restore import open_run
from tests.conftest import tiny

ROWS, TOKENS, VOCABULARY, END = 8, 6, 12, 2
ENCODER = models.encoder({"name": "convnet", "convnet": {"width": 4, "strides": (2,)}})
VIT = models.Network(ViT(features=16, layers=1, heads=2, patch_size=4, image_size=8))
SIZES = {"proj_dim": 8, "text_features": 16, "text_layers": 1, "text_heads": 2}
CONTEXT = Context(jax.random.key(1), jnp.zeros((), jnp.int32), jnp.zeros(()))


def method(kind=CLIP, **changes):
    given = {**SIZES, "text_vocabulary": VOCABULARY, "text_end": END, **changes}
    return kind(encoder=given.pop("encoder", ENCODER), **given)


def batch(seed=0):
    rng = np.random.default_rng(seed)
    tokens = np.zeros((ROWS, TOKENS), np.int32)
    for row, words in zip(tokens, rng.integers(1, 4, ROWS)):
        row[: words + 2] = [1, *rng.integers(3, VOCABULARY, words), END]
    images = jnp.asarray(rng.uniform(size=(ROWS, 8, 8, 3)), jnp.float32)
    return {"unlabeled": {"views": {"first": (images,)}, "text": jnp.asarray(tokens)}}


def started(own):
    params, state = jax.jit(own.init)(jax.random.key(0), batch())
    return params, state


def loss_of(own, params, state, data):
    return jax.jit(jax.value_and_grad(lambda p: own.loss(p, state, data, CONTEXT)[0]))(params)


def test_what_stands_after_the_end_changes_nothing():
    tower = models.text_transformer(VOCABULARY, END, features=16, layers=2, heads=2)
    tokens = batch()["unlabeled"]["text"]
    params, stats = tower.init(jax.random.key(0), tokens)
    ends = (tokens == END).argmax(axis=1)
    other = jnp.where(jnp.arange(TOKENS) > ends[:, None], 7, tokens)
    assert (other != tokens).any()
    found = [tower.apply(params, stats, x, train=False)[0] for x in (tokens, other)]
    np.testing.assert_allclose(*found, atol=1e-6)
    swapped = tokens.at[:, 1].set(tokens[:, 1] % 9 + 3)
    assert abs(found[0] - tower.apply(params, stats, swapped, train=False)[0]).max() > 1e-3


@pytest.mark.parametrize("kind", [CLIP, SigLIP])
def test_the_loss_is_that_of_both_embeddings(kind):
    own, data = method(kind), batch()
    params, state = started(own)
    images = own.outputs(params, state, data["unlabeled"]["views"]["first"][0])["embedding"]
    texts = own.outputs(params, state, data["unlabeled"]["text"], "text")["embedding"]
    assert images.shape == texts.shape == (ROWS, 8)
    # the ConvNet's batch norm sees the batch in training, so that only the text's half is the same
    (seen, _), (read, _) = (
        own.forward(params, state["stats"], data["unlabeled"]["views"]["first"][0], key=CONTEXT.key),
        own.forward_beside(params, state["stats"], data["unlabeled"]["text"]),
    )
    np.testing.assert_allclose(read["text_projector"], texts, atol=1e-5)
    given = (seen["projector"], read["text_projector"])
    expected = losses.clip(*given, 1 / 0.07) if kind is CLIP else losses.siglip(*given, 10.0, -10.0)
    value, grads = loss_of(own, params, state, data)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert abs(grad).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize("kind", [CLIP, SigLIP])
def test_devices_and_parts_change_nothing(kind, mesh8):
    plain = method(kind, encoder=VIT)
    params, state = started(plain)
    expected = loss_of(plain, params, state, batch())
    for changes in ({"similarity": "ring", "mesh": mesh8}, {"similarity": "blockwise", "block_size": 4}):
        found = loss_of(dataclasses.replace(plain, **changes), params, state, batch())
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), found, expected)
    parts = dataclasses.replace(plain, encoder=dataclasses.replace(plain.encoder, chunks=2))
    assert parts.towers["text"].chunks == 2
    found = loss_of(parts, params, state, batch())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), found, expected)


def test_the_scale_stays_within_its_bounds():
    own = method()
    params, _ = started(own)
    assert float(params["scale"]) == pytest.approx(math.log(1 / 0.07))
    for scale, bounded in ((9.0, math.log(100)), (-3.0, 0.0), (1.0, 1.0)):
        moved = own.constrained({**params, "scale": jnp.float32(scale)})
        assert float(moved["scale"]) == pytest.approx(bounded)
    other = method(SigLIP)
    free = {**started(other)[0], "scale": jnp.float32(9.0)}
    assert float(other.constrained(free)["scale"]) == 9.0


def test_a_frozen_image_tower_does_not_learn():
    own = method(frozen_images=True)
    params, state = started(own)
    data = batch()
    _, grads = loss_of(own, params, state, data)
    assert not any(abs(leaf).max() for leaf in jax.tree.leaves(grads["encoder"]))
    assert all(abs(leaf).max() > 0 for leaf in jax.tree.leaves([grads["projector"], grads["text"]]))
    _, output = jax.jit(own.loss)(params, state, data, CONTEXT)
    jax.tree.map(np.testing.assert_array_equal, output.state["stats"]["encoder"], state["stats"]["encoder"])


def test_bad_batches_are_named():
    own, data = method(), batch()
    with pytest.raises(UserError, match=r"needs captions: set data\.text\.context"):
        own.check({"unlabeled": {"views": data["unlabeled"]["views"]}})
    twice = {"views": {"first": data["unlabeled"]["views"]["first"] * 2}, "text": data["unlabeled"]["text"]}
    with pytest.raises(UserError, match="takes one view"):
        own.check({"unlabeled": twice})
    with pytest.raises(UserError, match="needs two"):
        own.check(jax.tree.map(lambda x: x[:1], data))
    with pytest.raises(UserError, match="unknown view"):
        method(views=("other",)).check(data)


def tiny_pairs(module, **changes):
    config = tiny(module.get_config())
    config.evals.health.enabled = False
    for key, value in changes.items():
        config[key] = value
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip") / "run"
    return jssl.run(tiny_pairs(clip), folder), folder


def test_a_frozen_image_tower_is_moved_by_no_update(finished, tmp_path):
    """Weight decay included; and it begins with a run's."""
    config = tiny_pairs(clip)
    config.method.frozen_images = True
    with pytest.raises(UserError, match="set init_from=RUN"):
        jssl.run(config, tmp_path / "none")
    config.init_from = str(finished[1])
    config.optim.update({"weight_decay": 10.0, "lr": 0.1})
    config.evals.zero_shot.enabled = config.evals.retrieval.enabled = False
    jssl.run(config, tmp_path / "lit")
    before, after = (open_run(folder)[2].params for folder in (finished[1], tmp_path / "lit"))
    jax.tree.map(np.testing.assert_array_equal, before["encoder"], after["encoder"])
    assert abs(before["projector"]["dense0"]["kernel"] - after["projector"]["dense0"]["kernel"]).max() > 1e-3


def test_a_run_that_stopped_reads_on_as_if_it_never_had(finished, tmp_path):
    result, whole = finished
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "6")
    for name in ("result.json", "tokenizer.json"):  # the same captions give the same tokeniser
        (tmp_path / "run" / name).unlink()
    again = jssl.run(tiny_pairs(clip), tmp_path / "run")
    names = [name for name in result.values if name.startswith(("zero_shot", "retrieval"))]
    assert {name: again[name] for name in names} == {name: result[name] for name in names}
    before, after = (open_run(folder)[2].params for folder in (whole, tmp_path / "run"))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    texts = [(folder / "tokenizer.json").read_text() for folder in (whole, tmp_path / "run")]
    assert texts[0] == texts[1]


def test_a_run_is_loaded_with_both_towers(finished):
    result, folder = finished
    assert {"zero_shot/top1", "retrieval/text_to_image/r5"} <= result.values.keys()
    assert result["zero_shot/chance"] == pytest.approx(1 / 30)
    model = jssl.load(folder)
    texts = model.text(["seven three", "zero zero"])
    assert model.embedding(np.zeros((3, 16, 16, 1), np.uint8)).shape == (3, texts.shape[1])
    assert model.text([]).shape == (0, texts.shape[1])
    pairs = sources.digit_pairs()["train"].take([3, 90])
    rows = embed.of_captions(model, pairs)
    assert rows.index.tolist() == [0] * 5 + [1] * 5
    assert rows.labels.tolist() == pairs.labels()[rows.index].tolist()
    np.testing.assert_allclose(rows.x[5:], model.text(pairs.captions()[1]), rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="digits has no captions"):
        embed.of_captions(model, sources.digits()["test"])
    for wrong, words in (
        ("seven three", "takes a list of texts"),
        (None, "takes a list"),
        ([3], "must be a str"),
    ):
        with pytest.raises(UserError, match=words):
            model.text(wrong)


def test_what_is_wrong_is_said_before_a_folder_is_made(tmp_path):
    config = tiny_pairs(siglip)
    config.data.name = "digits"
    config.data.unlabeled.views.first.size = 8
    with pytest.raises(UserError, match=r"the images of digits have no captions"):
        jssl.run(config, tmp_path / "none")
    config.data.text.context = 0
    with pytest.raises(UserError, match=r"set data\.text\.context"):
        jssl.run(config, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_class_names_are_taken_from_sentences():
    from jssl import evaluation

    vectors = {"a cat": [3.0, 0.0], "cat": [0.0, 1.0], "a dog": [-1.0, 0.0], "dog": [-1.0, 0.0]}
    found = evaluation.class_embeddings(
        lambda texts: np.array([vectors[text] for text in texts]), ["cat", "dog"], ["a {}", "{}"]
    )
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5], [-1, 0]], atol=1e-6)


def test_braces_in_templates_are_text():
    from jssl import evaluation

    seen = []
    evaluation.class_embeddings(
        lambda texts: np.ones((len(seen.extend(texts) or texts), 2)), ["cat"], ["{} {x} { {0}"]
    )
    assert seen == ["cat {x} { {0}"]


def test_class_names_of_other_data_are_found_without_a_label(finished):
    config = workdir.read_config(finished[1])
    transfer.only(config, ("zero_shot",))
    config.evals.zero_shot.templates = ("a {}", "the digit {}")
    program, data, state = transfer.open_transfer(finished[1], config, "digits")
    found = Suite(program, data).final(state).values
    assert 0 <= found["zero_shot/top1"] <= 1
    assert found["zero_shot/chance"] == pytest.approx(0.1)
