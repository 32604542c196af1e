import numpy as np
from PIL import Image

from jssl.data import sources
from tests.data.sources.files import png


def test_a_flat_folder_is_unlabelled(tmp_path):
    for name in ("b.png", "a.JPG", "c.webp", ".hidden.png", "deep/d.png"):
        png(tmp_path, name)
    (tmp_path / "notes.txt").write_text("not an image")
    source = sources.load(str(tmp_path), "train")
    assert [source.filename(i) for i in range(len(source))] == ["a.JPG", "b.png", "c.webp", "deep/d.png"]
    assert source.labels() is None
    assert source.class_names is None
    assert source.image_shape is None
    np.testing.assert_array_equal(
        source.decode(source.open(1), 1), np.full((4, 5, 3), [10, 20, 30], np.uint8)
    )


def test_a_folder_of_classes(tmp_path):
    for name in ("cat/1.png", "cat/2.png", "ant/x/1.png"):
        png(tmp_path, name)
    source = sources.load(str(tmp_path), "train")
    assert source.class_names == ("ant", "cat")
    np.testing.assert_array_equal(source.labels(), [0, 1, 1])


def test_train_and_val_folders(tmp_path):
    for name in ("train/1.png", "train/2.png", "val/1.png"):
        png(tmp_path, name)
    assert len(sources.load(str(tmp_path), "train")) == 2
    assert len(sources.load(str(tmp_path), "test")) == 1
    assert sources.has_split(str(tmp_path), "test")
    assert not sources.has_split(str(tmp_path / "train"), "test")


def test_a_folder_may_have_a_dot_in_its_name(tmp_path):
    png(tmp_path, "holiday.2024/1.png")
    folder = str(tmp_path / "holiday.2024")
    assert len(sources.load(folder, "train")) == 1
    assert not sources.has_split(folder, "test")


def test_sixteen_bit_images_keep_their_greys(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    source = sources.load(str(tmp_path), "train")
    pixels = source.decode(source.open(0), 0)
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels[..., 0], ramp)


def test_files_that_need_converting_are_named(tmp_path, caplog):
    png(tmp_path, "1.png")
    (tmp_path / "IMG_1.HEIC").write_bytes(b"phone")
    with caplog.at_level("WARNING", logger="absl"):
        sources.FolderSource(tmp_path)
    assert "1 files left out, convert them to JPEG first: IMG_1.HEIC" in caplog.text
