"""Captions as tokens: the tokeniser, and which caption an image has in an epoch."""

import numpy as np
import pytest
import tokenizers

from jssl.data.text import Captions, Tokenizer, open_tokenizer, trained
from jssl.errors import UserError

TEXTS = ["two cats on a mat", "a dog", "two dogs and a cat"]
SCRIPTS = ["两只猫", "قطتان", "🐈🐈", "Zwei Käfer", "tab\tand\nline"]


def tokenizer(context=12, vocabulary=280):
    return Tokenizer(trained(TEXTS, vocabulary), context)


def test_a_text_is_start_tokens_end_and_zeros():
    tokens = tokenizer()(["two cats", ""])
    assert tokens.dtype == np.int32
    assert tokens.shape == (2, 12)
    ends = (tokens == 2).argmax(axis=1)
    assert (tokens[:, 0] == 1).all()
    assert ends[1] == 1  # an empty text is a start and an end
    for row, end in zip(tokens, ends):
        assert (row[1:end] > 3).all()
        assert not row[end + 1 :].any()


def test_longer_texts_are_cut_and_keep_their_end():
    short = tokenizer(context=5)
    tokens = short(["two cats on a mat and two cats on a mat"])
    assert tokens[0, 0] == 1
    assert tokens[0, -1] == 2
    assert short.count_longer(["a", "two cats on a mat and two cats on a mat"]) == 1


@pytest.mark.parametrize("text", SCRIPTS)
def test_any_script_can_be_written(text):
    tokens = tokenizer(context=64)([text])[0]
    inner = tokens[1 : (tokens == 2).argmax()]
    plain = tokenizers.Tokenizer.from_str(tokenizer().description)
    assert plain.decode(inner.tolist()).strip() == text.lower().strip()


def test_case_does_not_matter_and_the_same_texts_give_the_same_tokeniser():
    np.testing.assert_array_equal(*(tokenizer()([text]) for text in ("Two CATS", "two cats")))
    assert trained(TEXTS, 280) == trained(TEXTS, 280)


class Section:
    def __init__(self, context=12, tokenizer="", vocabulary=280):
        self.context, self.tokenizer, self.vocabulary = context, tokenizer, vocabulary


def test_a_file_of_tokens_is_taken_as_it_is(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(trained(["other words"], 300))
    found = open_tokenizer(Section(tokenizer=str(path)), [("two cats",)], None)
    assert found.description == path.read_text()
    began_with = trained(TEXTS, 280)
    assert open_tokenizer(Section(tokenizer=str(path)), [("a",)], began_with).description == began_with


def test_special_tokens_of_clip_and_bert_are_known():
    for start, end in (("<|startoftext|>", "<|endoftext|>"), ("[CLS]", "[SEP]")):
        vocabulary = {"a": 0, start: 7, end: 8}
        plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="a"))
        found = Tokenizer(plain.to_str(), 4)
        assert (found.start, found.end) == (7, 8)


def test_special_words_within_a_text_are_text():
    tokens = tokenizer(context=40)(["two [END] cats [PAD] [MASK]"])[0]
    end = (tokens == 2).argmax()
    assert (tokens[1:end] > 3).all()
    assert not tokens[end + 1 :].any()


def test_ids_with_gaps_count_up_to_the_largest():
    vocabulary = {"a": 0, "[START]": 1, "[END]": 2, "b": 5000}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="a"))
    found = Tokenizer(plain.to_str(), 4)
    assert found.vocabulary == 5001
    drawn = Captions.of([("b",)], found, 0).drawn(np.array([0]), np.array([0]))
    assert drawn.tolist() == [[1, 5000, 2, 0]]


def test_huge_vocabularies_are_as_large_as_the_texts_allow():
    assert Tokenizer(trained(TEXTS, 2**70), 8).vocabulary < 1000


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match="a text must be a str, not None"):
        tokenizer()(["a", None])
    with pytest.raises(UserError, match="cannot take these texts"):
        tokenizer()(["\ud83d"])
    unknown = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"a": 0, "[START]": 1, "[END]": 2}, unk_token="?")
    )
    with pytest.raises(UserError, match="cannot take these texts"):
        Tokenizer(unknown.to_str(), 5)(["z"])
    (tmp_path / "empty.json").write_text("")
    with pytest.raises(UserError, match="is no tokenizer"):
        open_tokenizer(Section(tokenizer=str(tmp_path / "empty.json")), [("a",)], None)
    with pytest.raises(UserError, match="at least 260"):
        trained(TEXTS, 100)
    with pytest.raises(UserError, match=r"is no tokenizer\.json"):
        Tokenizer("{}", 5)
    with pytest.raises(UserError, match="none of the tokens"):
        Tokenizer(tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a")).to_str(), 5)
    with pytest.raises(UserError, match=r"context=2 must be at least 3"):
        open_tokenizer(Section(context=2), [("a",)], None)
    with pytest.raises(UserError, match="cannot be read"):
        open_tokenizer(Section(tokenizer=str(tmp_path / "none.json")), [("a",)], None)


def test_every_epoch_draws_one_of_an_images_own_captions():
    captions = [tuple(f"image {row} text {number}" for number in range(1 + row % 3)) for row in range(9)]
    words = tokenizer(context=20)
    drawn = Captions.of(captions, words, seed=3)
    own = [{tuple(tokens) for tokens in words(each).tolist()} for each in captions]
    seen = [set() for _ in captions]
    for epoch in range(30):
        rows = np.random.default_rng(epoch).permutation(9)
        positions = 9 * epoch + np.arange(9)
        for row, tokens in zip(rows, drawn.drawn(rows, positions).tolist()):
            assert tuple(tokens) in own[row]
            seen[row].add(tuple(tokens))
    assert seen == own  # each has its turn
    # a function of the image and the epoch, not of the place in a batch
    again = drawn.drawn(np.array([4, 8]), np.array([9 * 7 + 8, 9 * 7]))
    np.testing.assert_array_equal(again, drawn.drawn(np.array([8, 4]), np.array([9 * 7, 9 * 7 + 1]))[::-1])
