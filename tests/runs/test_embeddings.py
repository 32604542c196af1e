"""Features with names, labels and images as files."""

import io
import json

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from jssl import cli
from jssl.data import sources
from jssl.errors import UserError
from jssl.evaluation.extract import Features
from jssl.runs import embeddings


@pytest.fixture(scope="module")
def source():
    return sources.load("digits", "test[:5]")


def features(source, labels=None):
    index = np.array([0, 2, 3], np.int32)  # image 1 could not be read
    labels = source.labels()[index] if labels is None else np.asarray(labels)
    return Features(np.arange(6, dtype=np.float32).reshape(3, 2), labels, index)


def test_a_table_holds_a_row_for_each_image_with_its_picture(source, tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "ROWS", 2)
    given = features(source, [3, -1, 5])
    embeddings.write(tmp_path / "f.parquet", given, source)
    table = pyarrow.parquet.read_table(tmp_path / "f.parquet")
    rows = table.to_pylist()
    np.testing.assert_array_equal([row["features"] for row in rows], given.x)
    assert [row["label"] for row in rows] == [3, None, 5]
    assert [row["class"] for row in rows] == ["3", None, "5"]
    assert [row["name"] for row in rows] == [source.filename(n) for n in (0, 2, 3)]
    for row, n in zip(rows, (0, 2, 3)):
        picture = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
        np.testing.assert_array_equal(picture, source.decode(source.open(n), n)[..., 0])
    noted = json.loads(table.schema.metadata[b"huggingface"])
    assert noted["info"]["features"]["image"] == {"_type": "Image"}


def test_captions_and_images_that_no_png_holds(source, tmp_path):
    deep = source.map(lambda x, _: x.astype(np.uint16) * 257, "uint16")
    embeddings.write(tmp_path / "f.parquet", features(source), deep, captions=("a", "b", "c"))
    rows = pyarrow.parquet.read_table(tmp_path / "f.parquet").to_pylist()
    assert [row["caption"] for row in rows] == ["a", "b", "c"]
    assert "image" not in rows[0]
    embeddings.write(tmp_path / "f.npz", features(source), source, captions=("a", "b", "c"))
    with np.load(tmp_path / "f.npz") as stored:
        assert stored["captions"].tolist() == ["a", "b", "c"]
        assert stored["names"].tolist() == [row["name"] for row in rows]


def test_large_images_are_written_a_few_at_a_time(source, tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "BYTES", 1)
    embeddings.write(tmp_path / "f.parquet", features(source), source)
    file = pyarrow.parquet.ParquetFile(tmp_path / "f.parquet")
    assert (file.num_row_groups, file.metadata.num_rows) == (3, 3)


def test_another_kind_is_refused(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(UserError, match=r"folder\.npz is a folder: name a file"):
        cli.check_out(tmp_path / "folder.npz", overwrite=True)
    with pytest.raises(UserError, match=r"^--out=.*f\.csv must end in \.npz or \.parquet$"):
        embeddings.check(tmp_path / "f.csv")
