"""Tar shards: samples of several files, patterns, splits, missing and broken parts, a run with workers' pickling."""

import io
import json
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from jssl.data import sources
from jssl.data.pipeline import EvalBatches
from jssl.errors import UserError


def image(colour, format="PNG", size=(7, 5)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format)
    return buffer.getvalue()


def write(path, members):
    """A tar of names and bytes (or texts)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            content = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def shards(tmp_path):
    """Three shards of four samples whose red value is their number; two classes, a caption each."""
    for shard in range(3):
        members = []
        for i in range(4 * shard, 4 * shard + 4):
            kind = ("png", "jpg", "webp")[i % 3]
            members += [
                (f"deep/{i:03}.{kind}", image((i, 0, 0), {"jpg": "JPEG"}.get(kind, kind.upper()))),
                (f"deep/{i:03}.cls", str(10 if i % 2 else 9)),
                (f"deep/{i:03}.txt", f"number {i}\n"),
            ]
        write(tmp_path / "shards" / f"part-{shard:02}.tar", members)
    return tmp_path / "shards"


def test_images_labels_and_captions_are_read_where_they_lie(shards):
    source = sources.load(str(shards / "part-{00..02}.tar"), "train")
    assert len(source) == 12
    assert source.class_names == ("9", "10")  # in the order of numbers
    assert source.labels().tolist() == [0, 1] * 6
    assert source.captions()[11] == ("number 11",)
    assert source.filename(5) == "part-01.tar/deep/005.webp"
    pixels = source.decode(source.open(9), 9)
    assert pixels.shape == (5, 7, 3)
    assert pixels[0, 0].tolist() == [9, 0, 0]
    assert source.take([8]).handles([0]) == source.handles([8])


def test_a_folder_of_shards_is_the_same_as_its_pattern(shards):
    whole, pattern = (sources.load(str(name), "train") for name in (shards, shards / "part-{00..02}.tar"))
    assert whole.content_checksum() == pattern.content_checksum()
    part = sources.load(str(shards), "train[:50%]", captions=False)
    assert len(part) == 6
    assert part.captions() is None
    assert len(sources.load(str(shards / "part-01.tar"), "train")) == 4


def test_splits_go_by_the_names_of_shards_or_folders(shards):
    names = {"part-00": "train-0", "part-01": "train-1", "part-02": "val-0"}
    for old, new in names.items():
        (shards / f"{old}.tar").rename(shards / f"{new}.tar")
    assert [len(sources.load(str(shards), split)) for split in ("train", "test")] == [8, 4]
    assert sources.has_split(str(shards), "test")
    for path in list(shards.iterdir()):
        (shards / path.stem.split("-")[0]).mkdir(exist_ok=True)
        path.rename(shards / path.stem.split("-")[0] / path.name)
    assert [len(sources.load(str(shards), split)) for split in ("train", "test")] == [8, 4]
    with pytest.raises(UserError, match="split"):
        sources.load(str(shards / "train" / "train-0.tar"), "test")


def test_what_is_missing_is_counted_named_and_left_out(tmp_path, caplog):
    members = [(f"{i}.png", image((i, 0, 0))) for i in range(6)]
    members += [(f"{i}.json", json.dumps({"label": "ab"[i % 2], "caption": f"{i}"})) for i in range(4)]
    members += [("4.cls", "a"), ("lost.cls", "a"), (".hidden", ""), ("5.txt", " ")]
    path = write(tmp_path / "a.tar", members)
    source = sources.load(str(path), "train", captions=False)
    assert source.labels().tolist() == [0, 1, 0, 1, 0]
    assert "1 samples have no image and are left out: a.tar/lost" in caplog.text
    assert "1 samples lack a label and are left out: 5.png" in caplog.text
    assert sources.load(str(path), "train").captions() == [(str(i),) for i in range(4)]


@pytest.mark.parametrize("caption", [5, {"en": "a dog"}, [1, None]])
def test_captions_that_are_no_texts_are_none(caption, tmp_path):
    members = [(f"{i}.png", image((i, 0, 0))) for i in range(3)]
    members += [(f"{i}.json", json.dumps({"caption": caption if i else "a cat"})) for i in range(3)]
    assert sources.load(str(write(tmp_path / "a.tar", members)), "train").captions() is None


def test_few_labels_are_none(tmp_path, caplog):
    members = [(f"{i}.png", image((i, 0, 0))) for i in range(5)] + [("0.cls", "0"), ("1.cls", "1")]
    assert sources.load(str(write(tmp_path / "a.tar", members)), "train").class_names is None
    assert "only 2 of 5 samples have a label" in caplog.text


def test_unreadable_members_are_like_unreadable_files(tmp_path):
    path = write(
        tmp_path / "a.tar", [("0.png", image((1, 0, 0))), ("1.png", b"no image"), ("2.png", image((2, 0, 0)))]
    )
    source = sources.load(str(path), "train")
    with pytest.raises(sources.BadImage, match=r"a\.tar/1\.png: cannot identify"):
        source.open(1)
    copy = pickle.loads(pickle.dumps(source))  # as workers get it
    batch = EvalBatches(copy, 3, 5, process=0, processes=1)[0]
    assert batch["mask"].tolist() == [True, False, True]
    assert batch["image"][[0, 2], 0, 0, 0].tolist() == [1, 2]
    path.unlink()
    with pytest.raises(sources.BadImage, match=r"a\.tar/0\.png"):
        copy.open(0)


def test_an_index_is_made_anew_for_a_file_that_is_new(shards):
    name = str(shards / "part-00.tar")
    first = sources.load(name, "train")
    assert sources.load(name, "train") is first
    write(shards / "part-00.tar", [("0.png", image((1, 1, 1)))])
    assert len(sources.load(name, "train")) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read as a tar"),
        (b"\x1f\x8b" + bytes(2000), "cannot be read as a tar that is not compressed"),
        ([("0.txt", "x")], "no images in a.tar"),
        ([("0.png", b"x"), ("0.json", "{")], "the .json of 0.png is none"),
        ([("0.png", b"x"), ("0.json", "[]")], "must be an object"),
        ([("0.png", b"x")], "none of 1 images below a.tar"),
    ],
)
def test_bad_shards_are_one_line(tmp_path, content, words):
    path = tmp_path / "a.tar"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write(path, content)
    with pytest.raises(UserError, match=words):
        sources.load(str(path), "train")


def test_a_shard_that_was_cut_is_told(shards):
    path = shards / "part-00.tar"
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(UserError, match=r"part-00\.tar"):
        sources.load(str(path), "train")


def test_shards_that_are_not_there_and_bad_patterns(shards):
    with pytest.raises(UserError, match=r"1 of 4 shards are not there, .*part-03\.tar for one"):
        sources.load(str(shards / "part-{00..03}.tar"), "train")
    with pytest.raises(UserError, match="must count upwards"):
        sources.load("part-{03..00}.tar", "train")
    with pytest.raises(UserError, match="images are read, not sounds"):
        sources.load(str(shards), "train", sound=sources.SoundFormat(8000, 8000))


def test_beside_images_tars_are_other_files(shards, caplog):
    Image.new("RGB", (4, 4)).save(shards / "a.png")
    assert isinstance(sources.load(str(shards), "train"), sources.FolderSource)
    assert np.shape(sources.load(str(shards), "train").labels()) == ()
