"""Masked language modelling: what is hidden, the tower to both sides, and runs that others begin with."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

import jssl
from jssl import models
from jssl.configs import clip, mlm
from jssl.data.augment.tokens import hide_tokens
from jssl.data.datasets import open_data
from jssl.data.text import Tokenizer, trained
from jssl.errors import UserError
from jssl.methods import Context
from jssl.methods.multimodal.mlm import MLM
from jssl.runs import init_from
from jssl.runs.restore import make_program, open_run
from tests.conftest import tiny

START, END, MASK, VOCABULARY, TOKENS = 1, 2, 3, 40, 24
ENCODER = models.encoder({"name": "convnet", "convnet": {"width": 4, "strides": (2,)}})
SIZES = {"text_features": 16, "text_layers": 1, "text_heads": 2}
FACTS = {"text_vocabulary": VOCABULARY, "text_end": END, "text_mask": MASK}
CONTEXT = Context(jax.random.key(1), jnp.zeros((), jnp.int32), jnp.zeros(()))


def captions(rows, seed=0, least=0):
    """Of `least` to 22 words, that is to say with a start and an end up to all tokens."""
    rng = np.random.default_rng(seed)
    tokens = np.zeros((rows, TOKENS), np.int32)
    for row, words in zip(tokens, rng.integers(least, TOKENS - 1, rows)):
        row[: words + 2] = [START, *rng.integers(4, VOCABULARY, words), END]
    return tokens


@pytest.fixture(scope="module")
def hidden():
    """Of many captions, BERT's masking."""
    tokens = captions(4000)
    keys = jax.random.split(jax.random.key(0), len(tokens))
    found = jax.jit(lambda k, t: hide_tokens(k, t, end=END, mask=MASK, vocabulary=VOCABULARY))(keys, tokens)
    return tokens, jax.device_get(found)


def test_fifteen_per_cent_of_the_words_are_chosen_and_nothing_else(hidden):
    tokens, found = hidden
    words = (tokens != 0).sum(axis=1) - 2
    chosen = found.targets >= 0
    expected = np.where(words > 0, np.maximum(1, np.round(0.15 * words)), 0)
    np.testing.assert_array_equal(chosen.sum(axis=1), expected)
    assert found.places.shape == (len(tokens), round(0.15 * (TOKENS - 2)))
    for row, places, targets in zip(tokens, found.places, found.targets):
        own = places[targets >= 0]
        assert len(set(own)) == len(own)
        assert (row[own] == targets[targets >= 0]).all()
        assert (row[own] > MASK).all()  # no start, no end, no padding
    untouched = np.ones_like(tokens, bool)
    np.put_along_axis(untouched, np.where(chosen, found.places, 0), False, axis=1)
    assert (found.tokens == tokens)[untouched].all()


def test_of_those_eighty_per_cent_are_masked_and_ten_are_random(hidden):
    tokens, found = hidden
    chosen = found.targets >= 0
    seen = np.take_along_axis(found.tokens, found.places, axis=1)[chosen]
    targets, count = found.targets[chosen], chosen.sum()
    assert np.mean(seen == MASK) == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / count))
    other = seen[(seen != MASK) & (seen != targets)]
    # one of 37 random tokens is the true one
    assert len(other) / count == pytest.approx(0.1 * 36 / 37, abs=4 * np.sqrt(0.09 / count))
    assert set(other) == {START, *range(4, VOCABULARY)}
    places = np.bincount(
        found.places[chosen & ((tokens != 0).sum(axis=1) == TOKENS)[:, None]], minlength=TOKENS
    )
    inner = places[1:-1]
    assert places[[0, -1]].tolist() == [0, 0]
    assert abs(inner - inner.mean()).max() < 5 * np.sqrt(inner.mean())  # anywhere alike


def test_what_is_hidden_depends_on_the_key_of_the_caption_alone(hidden):
    tokens, found = hidden
    keys = jax.random.split(jax.random.key(0), len(tokens))
    some = np.array([7, 3])
    again = hide_tokens(keys[some], tokens[some], end=END, mask=MASK, vocabulary=VOCABULARY)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[some]), again, found)


def test_a_tower_to_both_sides_sees_all_of_a_caption_and_nothing_after_it():
    tower = models.text_transformer(VOCABULARY, END, features=16, layers=2, heads=2, causal=False)
    causal = models.text_transformer(VOCABULARY, END, features=16, layers=2, heads=2)
    tokens = jnp.asarray(captions(6, least=3))
    params, stats = tower.init(jax.random.key(0), tokens)
    same = jax.tree.map(jnp.shape, causal.init(jax.random.key(0), tokens)[0])
    assert jax.tree.map(jnp.shape, params) == same
    before = models.up_to_end(tokens, END)
    other = jnp.where(before, tokens, 7)
    last = tokens.at[jnp.arange(6), before.sum(axis=1) - 2].set(4)
    for network, sees in ((tower, True), (causal, False)):
        every = jax.jit(functools.partial(network.tokens, params, stats))
        found, padded, changed = (every(x) for x in (tokens, other, last))
        np.testing.assert_allclose(found[before], padded[before], atol=1e-6)
        assert (abs(found - changed)[:, 0].max() > 1e-4) == sees  # what the start knows of the last word
        read = jax.jit(functools.partial(network.apply, train=False))(params, stats, tokens)[0]
        np.testing.assert_allclose(read, found[tokens == END], atol=1e-6)


def method(**changes):
    return MLM(encoder=ENCODER, **{**SIZES, **FACTS, **changes})


def batch(tokens):
    images = jnp.zeros((len(tokens), 8, 8, 3))
    return {"unlabeled": {"views": {"first": (images,)}, "text": jnp.asarray(tokens)}}


def test_the_loss_is_that_of_the_chosen_places_alone_and_none_without_words():
    own, data = method(), batch(captions(8))
    params, state = jax.jit(own.init)(jax.random.key(0), data)
    seen = {}

    def spy(*given):
        seen["hidden"] = MLM.hide(own, *given)
        return seen["hidden"]

    object.__setattr__(own, "hide", spy)

    def run(params):
        value, output = own.loss(params, state, data, CONTEXT)
        tokens = own.text_tower.tokens(params["text"], {}, seen["hidden"].tokens)
        return value, output.metrics["tokens/accuracy"], seen["hidden"], tokens

    value, accuracy, hidden, x = jax.device_get(jax.jit(run)(params))
    x = np.asarray(x, np.float64)
    head, embeddings = jax.device_get((params["token_predictor"], params["text"]["token"]["embedding"]))
    losses, right = [], []
    for row, places, targets in zip(x, hidden.places, hidden.targets):
        for place, target in zip(places, targets):
            if target < 0:
                continue
            h = row[place] @ head["dense"]["kernel"] + head["dense"]["bias"]
            h = np.asarray(jax.nn.gelu(h, approximate=False), np.float64)
            h = (h - h.mean()) / np.sqrt(h.var() + 1e-5) * head["norm"]["scale"] + head["norm"]["bias"]
            logits = embeddings @ h + head["bias"]
            losses.append(logsumexp(logits) - logits[target])
            right.append(logits.argmax() == target)
    np.testing.assert_allclose(value, np.mean(losses), rtol=1e-4)
    np.testing.assert_allclose(accuracy, np.mean(right), atol=1e-6)
    empty = batch(np.tile([START, END] + [0] * (TOKENS - 2), (8, 1)).astype(np.int32))
    assert float(jax.jit(own.loss)(params, state, empty, CONTEXT)[0]) == 0


def test_what_cannot_be_is_said():
    with pytest.raises(UserError, match="more than all chosen tokens"):
        method(masked_fraction=0.9, random_fraction=0.2)
    with pytest.raises(UserError, match=r"needs a tokeniser with a mask"):
        method(text_mask=-1).check(batch(captions(4)))
    with pytest.raises(UserError, match=r"MLM needs captions: set data\.text\.context"):
        method().check({"unlabeled": {"views": batch(captions(4))["unlabeled"]["views"]}})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlm") / "run"
    config = tiny(mlm.get_config())
    config.optim.lr, config.total_steps, config.checkpoint.every_steps = 1e-2, 150, 0
    config.data.unlabeled.batch_size = 64
    return jssl.run(config, folder), folder


def test_a_run_tells_hidden_words_better_than_by_naming_the_commonest(finished):
    result, folder = finished
    assert result["masked_tokens/accuracy"] > 1.5 * result["masked_tokens/commonest_token"]
    assert 0 < result["masked_tokens/loss"] < np.log(260)
    found = jssl.load(folder).text(["seven three", "zero and then zero"])
    assert found.shape == (2, 16)
    assert abs(found[0] - found[1]).max() > 1e-3


def test_a_run_of_clip_begins_with_its_text_tower(finished):
    folder = str(finished[1])
    config = tiny(clip.get_config())
    config.data.test = ""
    data = open_data(config)
    with pytest.raises(UserError, match=r"with method\.text_causal=False, this run's with True: set it so$"):
        init_from.check(folder, ("text",), make_program(config, data.info))
    config.method.text_causal = False
    prog = make_program(config, data.info)
    init_from.check(folder, ("text",), prog)
    init_from.check_tokens(folder, ("text",), data.tokenizer)
    begun = init_from.begin_with(folder, ("text",), prog, prog.init())
    learnt = open_run(finished[1])[2]
    jax.tree.map(np.testing.assert_array_equal, begun.params["text"], learnt.params["text"])
    with pytest.raises(UserError, match="init_parts names 'classifier'"):
        init_from.check(folder, ("text", "classifier"), prog)
    other = Tokenizer(trained(["other words"], 320), config.data.text.context)
    with pytest.raises(UserError, match=r"its tokens are others; set data\.text\.tokenizer="):
        init_from.check_tokens(folder, ("text",), other)
    init_from.check_tokens(folder, ("encoder",), other)
    wider = make_program(config, dataclasses.replace(data.info, text_vocabulary=400))
    with pytest.raises(UserError, match=r"its text has other shapes; give both runs the same tokens"):
        init_from.check(folder, ("text",), wider)
