"""Images with captions: files beside a folder, pairs of digits, TFDS; and that captions follow their images."""

import json

import numpy as np
import pytest
from PIL import Image

from jssl.data import sources
from jssl.data.sources.paired_digits import UNSEEN
from jssl.data.sources.tfds import texts_of
from jssl.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "sub/c.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (9, 9), (len(name) * 20, 0, 0)).save(path)
    return tmp_path / "images"


def write(folder, *rows, name="captions.jsonl"):
    (folder / name).write_text("\n".join(map(json.dumps, rows)))
    return sources.load(str(folder), "train")


def test_lines_of_json_give_every_image_its_captions(folder):
    source = write(
        folder,
        {"file": "sub/c.png", "caption": "see"},
        {"file": "a.png", "caption": ["one", " another "]},
        {"file": "b.png", "caption": "bee"},
        {"file": "b.png", "caption": "a second bee"},
    )
    assert source.captions() == [("one", "another"), ("bee", "a second bee"), ("see",)]
    assert source.fields["text"].kind == "text"
    assert [source.filename(i) for i in range(3)] == ["a.png", "b.png", "sub/c.png"]


def test_a_table_does_as_well(folder):
    (folder / "captions.csv").write_text('image,caption\na.png,"one, two"\nb.png,bee\nsub/c.png,see\n')
    assert sources.load(str(folder), "train").captions() == [("one, two",), ("bee",), ("see",)]


def test_what_is_missing_is_counted_and_left_out(folder, caplog):
    source = write(
        folder,
        {"file_name": "a.png", "text": "one"},
        {"file_name": "b.png", "text": "  "},
        {"file_name": "gone.png", "text": "gone"},
    )
    assert len(source) == 1
    assert source.captions() == [("one",)]
    for words in ("gone.png", "1 captions are empty", "2 images have no caption"):
        assert words in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{bad", "line 1 is no JSON"),
        ("[1]", "must be an object"),
        ('{"name": "a.png"}', "must have a file"),
        ('{"file": "other.png", "caption": "x"}', "names no image"),
        ("", "names no image"),
        ('{"file": "a.png", "caption": NaN}', "a caption must be a text, not nan"),
        ('{"file": "a.png", "caption": ["x", null]}', "a caption must be a text, not None"),
        ('{"file": "a.png", "caption": {"raw": "x"}}', "must be a text"),
    ],
)
def test_bad_files_are_named(folder, text, words):
    (folder / "captions.jsonl").write_text(text)
    with pytest.raises(UserError, match=words):
        sources.load(str(folder), "train")


def test_bytes_that_are_no_text_are_named(folder):
    (folder / "captions.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UTF-8"):
        sources.load(str(folder), "train")


def test_metadata_of_another_kind_are_none_of_ours(folder):
    assert write(folder, {"file_name": "a.png", "objects": 3}, name="metadata.jsonl").captions() is None


def test_a_file_of_empty_captions_only_is_told(folder):
    with pytest.raises(UserError, match=r"captions\.jsonl: all of its 2 captions are empty$"):
        write(folder, {"file": "a.png", "caption": " "}, {"file": "b.png", "caption": ""})


def test_captions_of_train_and_test_may_lie_beside_them(folder):
    for split, name in (("train", "a.png"), ("test", "b.png")):
        (folder / split).mkdir()
        (folder / name).rename(folder / split / name)
    (folder / "sub" / "c.png").unlink()
    rows = [{"file": "train/a.png", "caption": "one"}, {"file": "test/b.png", "caption": "bee"}]
    assert write(folder, *rows).captions() == [("one",)]
    assert sources.load(str(folder), "test").captions() == [("bee",)]


def test_captions_follow_their_images():
    pairs = sources.digit_pairs()["train"]
    rows, words = np.array([3000, 5, 70]), pairs.captions()
    mapped = pairs.take(rows).map(lambda pixels, _: 255 - pixels).renamed(pairs.class_names)
    expected = [words[row] for row in rows]
    assert mapped.captions() == expected
    assert sources.in_memory(mapped).captions() == expected
    assert sources.in_memory(mapped).take([2]).captions() == expected[2:]
    assert pairs.converted(1, "uint8").captions() == words
    other = pairs.source.with_captions([("x",)] * len(pairs))
    assert other.content_checksum() != pairs.content_checksum()
    with pytest.raises(UserError, match="needs a caption"):
        pairs.source.with_captions([()] * len(pairs))


def test_pairs_of_digits_are_what_they_are_called():
    pairs, digits = sources.digit_pairs(), sources.digits()
    labels = {split: source.labels() for split, source in pairs.items()}
    assert not set(labels["train"]) & set(labels["test"])
    assert len(set(labels["test"])) == 10 * UNSEEN
    for digit in range(10):  # both places of a pair are taught
        assert (labels["train"] // 10 == digit).any()
        assert (labels["train"] % 10 == digit).any()
    for split, source in pairs.items():
        images = source.gather(np.arange(len(source)))["image"][..., 0]
        known = {
            image.tobytes(): label
            for image, label in zip(digits[split].images[..., 0], digits[split].labels())
        }
        for row in range(0, len(source), 97):
            sides = images[row, :, :8], images[row, :, 8:]
            windows = [[side[top : top + 8].tobytes() for top in range(9)] for side in sides]
            found = [{known[window] for window in side if window in known} for side in windows]
            first, second = divmod(int(labels[split][row]), 10)
            assert first in found[0]
            assert second in found[1]
            assert source.class_names[labels[split][row]] in source.captions()[row][0]


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (b" a dog ", ("a dog",)),
        ("a dog", ("a dog",)),
        ([b"one", b"", b"two"], ("one", "two")),
        ([{"id": 3, "text": b"one"}, {"id": 4, "text": b"two"}], ("one", "two")),
        ({"id": [1, 2], "text": [b"one", b"two"]}, ("one", "two")),
        (b"", ()),
    ],
)
def test_captions_of_tfds_come_in_many_forms(value, texts):
    assert texts_of(value) == texts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,caption\na.png,two cats, and a dog\n", "line 2 has more fields"),
        ('file,caption\na.png,"two cats\nb.png,bee\n', "is no CSV"),
        ("file,caption\na.png\n", "a caption must be a text|must have a file"),
    ],
)
def test_tables_that_would_cut_or_glue_captions_are_named(folder, text, words):
    (folder / "captions.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        sources.load(str(folder), "train")


def test_names_may_have_a_dot_before_them_or_backslashes(folder):
    source = write(
        folder,
        {"file": "./a.png", "caption": "one\u2028line"},  # which json.dumps may leave as it is
        {"file": "sub\\c.png", "caption": "see"},
    )
    assert source.captions() == [("one\u2028line",), ("see",)]
    raw = '{"file": "a.png", "caption": "one\u2028line"}\n'
    (folder / "captions.jsonl").write_text(raw, encoding="utf-8")
    assert sources.load(str(folder), "train").captions() == [("one\u2028line",)]


def test_many_names_that_are_not_there_are_an_error(folder):
    rows = [{"file": f"/elsewhere/{number}.png", "caption": "x"} for number in range(2)]
    with pytest.raises(UserError, match="2 files with captions are not there, more than are"):
        write(folder, {"file": "a.png", "caption": "x"}, *rows)


def test_who_does_not_ask_for_captions_sees_all_images(folder):
    write(folder, {"file_name": "a.png", "text": "one"}, name="metadata.jsonl")
    assert len(sources.load(str(folder), "train")) == 1
    assert len(sources.load(str(folder), "train", captions=False)) == 3
    (folder / "metadata.jsonl").write_text("no JSON")
    assert len(sources.load(str(folder), "train", captions=False)) == 3


def test_metadata_beside_do_not_hide_the_captions_above(folder):
    for split, name in (("train", "a.png"), ("test", "b.png")):
        (folder / split).mkdir()
        (folder / name).rename(folder / split / name)
    (folder / "sub" / "c.png").unlink()
    (folder / "train" / "metadata.csv").write_text("file_name,size\na.png,9\n")
    assert write(folder, {"file": "train/a.png", "caption": "one"}).captions() == [("one",)]


def test_a_string_is_one_caption_and_other_things_are_none():
    plain = sources.digit_pairs()["test"].source.take([0, 1])
    assert plain.with_captions(["a cat", ("a dog", "two dogs")]).captions() == [
        ("a cat",),
        ("a dog", "two dogs"),
    ]
    assert plain.with_captions(np.array(["a cat", "a dog"])).captions() == [("a cat",), ("a dog",)]
    for wrong in ([3, 4], ["", "x"], [None, "x"]):
        with pytest.raises((UserError, TypeError)):
            plain.with_captions(wrong)


def test_parts_notice_other_captions_sounds_and_pixels():
    pairs = sources.digit_pairs()["test"]
    rows = [4, 300, 7]
    words = [list(own) for own in pairs.captions()]
    part = pairs.take(rows).content_checksum()
    words[300] = ["another"]
    assert pairs.source.with_captions(words).take(rows).content_checksum() != part
    changed = sources.ArraySource("digit_pairs", 255 - pairs.source.images, pairs.labels())
    assert changed.with_captions(pairs.captions()).take(rows).content_checksum() != part
    tones = sources.digit_tones()["test"]
    louder = tones.source.with_sounds(tones.sounds() // 2, 8000)
    assert louder.take(rows).content_checksum() != tones.take(rows).content_checksum()
