import os

import numpy as np
import pytest
import tifffile
from PIL import Image

from jssl.data import sources
from jssl.errors import UserError
from tests.data.sources.files import png


def test_a_folder_without_a_readable_image_is_refused_at_once(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"none of 3 images below .* is readable: .*c\.png"):
        sources.load(str(tmp_path), "train")


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


def names(source):
    return [source.filename(i) for i in range(len(source))]


def test_what_pillow_opens_is_an_image_and_the_rest_is_counted(tmp_path, caplog):
    for name in ("a.jfif", "b.jpe", "c.jp2", "d.tga", "e.JPEG"):
        kind = {".jp2": "JPEG2000", ".tga": "TGA"}.get(name[1:], "JPEG")
        Image.new("RGB", (5, 4)).save(tmp_path / name, kind)
    Image.new("RGB", (5, 4)).save(tmp_path / "without", "PNG")
    for name in ("IMG_1.nef", "IMG_2.nef", "notes.txt", "README"):
        (tmp_path / name).write_bytes(b"no image")
    with caplog.at_level("WARNING", logger="absl"):
        source = sources.FolderSource(tmp_path)
    assert names(source) == ["a.jfif", "b.jpe", "c.jp2", "d.tga", "e.JPEG", "without"]
    assert "4 other files left out: 2 .nef, 1 without an ending, 1 .txt" in caplog.text


def test_every_real_file_and_folder_counts_once(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for name in ("a/1.png", "b/2.png"):
        png(root, name)
    png(elsewhere, "3.png")
    (root / "a" / "up").symlink_to("..")
    (root / "b" / "sibling").symlink_to(root / "a")
    (root / "b" / "everything").symlink_to("/")
    (root / "b" / "1.png").symlink_to(root / "a" / "1.png")
    (root / "a" / "more").symlink_to(elsewhere)
    (root / "b" / "more").symlink_to(elsewhere)
    (root / "b" / "one").symlink_to(root / "b" / "two")
    (root / "b" / "two").symlink_to(root / "b" / "one")
    os.mkfifo(root / "a" / "pipe.jpg")
    source = sources.load(str(root), "train")
    assert names(source) == ["a/1.png", "a/more/3.png", "b/2.png"]
    np.testing.assert_array_equal(source.labels(), [0, 0, 1])


def test_a_class_called_train_is_a_class(tmp_path):
    for name in ("boat/1.png", "car/1.png", "train/1.png"):
        png(tmp_path, name)
    assert sources.load(str(tmp_path), "train").class_names == ("boat", "car", "train")
    assert not sources.has_split(str(tmp_path), "test")


def test_splits_in_capitals_and_others_beside_them(tmp_path, caplog):
    for name in ("Train/x/1.png", "Train/y/1.png", "VALID/x/1.png", "unlabeled/1.png"):
        png(tmp_path, name)
    with caplog.at_level("INFO", logger="absl"):
        train = sources.load(str(tmp_path), "train")
    assert train.class_names == ("x", "y")
    assert "besides train and test there are the splits unlabeled" in caplog.text
    assert [len(sources.load(str(tmp_path), name)) for name in ("test", "valid", "unlabeled")] == [1, 1, 1]


def test_a_few_stray_files_do_not_take_the_labels_away(tmp_path, caplog):
    for name in [f"{label}/{i}.png" for label in "ab" for i in range(10)]:
        png(tmp_path, name)
    png(tmp_path, "logo.png")
    with caplog.at_level("WARNING", logger="absl"):
        source = sources.load(str(tmp_path), "train")
    assert (source.class_names, len(source)) == (("a", "b"), 20)
    assert "1 images beside the class folders are left out" in caplog.text
    for i in range(10):
        png(tmp_path, f"more{i}.png")
    assert sources.load(str(tmp_path), "train").class_names is None


def test_classes_that_are_numbers_are_in_their_order(tmp_path):
    for name in ("10/1.png", "2/1.png", "0/1.png"):
        png(tmp_path, name)
    source = sources.load(str(tmp_path), "train")
    assert source.class_names == ("0", "2", "10")
    assert [source.class_names[label] for label in source.labels()] == [
        n.split("/")[0] for n in names(source)
    ]


def test_masks_are_no_class(tmp_path):
    for name in ("images/1.png", "masks/1.png"):
        png(tmp_path, name)
    source = sources.load(str(tmp_path), "train")
    assert names(source) == ["1.png"]
    assert source.class_names is None


def test_a_slice_of_a_folder_holds_all_classes(tmp_path):
    for name in [f"{label}/{i}.png" for label in "ab" for i in range(10)]:
        png(tmp_path, name)
    first, rest = (sources.load(str(tmp_path), f"train[{part}]") for part in (":50%", "50%:"))
    assert set(first.labels()) == set(rest.labels()) == {0, 1}
    assert sorted(names(first) + names(rest)) == names(sources.load(str(tmp_path), "train"))


def test_names_that_are_no_text_or_move_the_cursor(tmp_path):
    for name in (b"\xff\xfe.png", b"new\nline.png", b"\x1b[31mred.png", "ü".encode() * 100 + b".png"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            Image.new("RGB", (5, 4)).save(file, "PNG")
    source = sources.load(str(tmp_path), "train")
    assert len(source) == 4
    assert all(name.isprintable() and name.encode() for name in names(source))
    assert r"new\nline.png" in names(source)
    assert source.content_checksum()
    assert source.decode(source.open(3), 3).shape == (4, 5, 3)


def test_what_lies_under_transparency_is_not_seen(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[..., 0], pixels[0, 0, 3] = 200, 255  # red everywhere, opaque in one corner
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    source = sources.load(str(tmp_path), "train")
    found = source.decode(source.open(0), 0)
    np.testing.assert_array_equal(found[0, 0], [200, 0, 0])
    np.testing.assert_array_equal(found[1, 1], [255, 255, 255])


def test_an_error_that_is_not_the_files_is_not_hidden(tmp_path, monkeypatch):
    png(tmp_path, "1.png")
    source = sources.load(str(tmp_path), "train")

    def out_of_memory(*_):
        raise MemoryError

    monkeypatch.setattr("jssl.data.sources.images.open_image", out_of_memory)
    with pytest.raises(MemoryError):
        source.open(0)


def test_folders_beside_train_and_test_do_not_make_classes_of_them(tmp_path, caplog):
    for name in ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png", "more/1.png"):
        png(tmp_path, name)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "x.csv").write_text("no image")
    with caplog.at_level("WARNING", logger="absl"):
        train = sources.load(str(tmp_path), "train")
    assert train.class_names == ("a", "b")
    assert "has train/ and test/; left out: more" in caplog.text
    assert len(sources.load(str(tmp_path), "test")) == 2


def test_splits_that_cannot_be_meant(tmp_path):
    for name in ("a/test/1.png", "a/val/1.png", "b/train/1.png", "b/Train/1.png"):
        png(tmp_path, name)
    with pytest.raises(UserError, match="has test, val and no train: name one of them train"):
        sources.load(str(tmp_path / "a"), "train")
    with pytest.raises(UserError, match="has Train/ and train/: rename one"):
        sources.load(str(tmp_path / "b"), "train")
    with pytest.raises(UserError, match=r"1\.png is one file: give its folder"):
        sources.load(str(tmp_path / "a" / "test" / "1.png"), "train")


def test_a_lone_folder_is_looked_into_and_masks_are_never_a_class(tmp_path, caplog):
    for name in ("wrap/data/Train/x/1.png", "wrap/data/Train/y/1.png", "wrap/data/TEST/x/1.png"):
        png(tmp_path, name)
    assert sources.load(str(tmp_path / "wrap"), "train").class_names == ("x", "y")
    assert len(sources.load(str(tmp_path / "wrap"), "test")) == 1
    for split in ("train", "val"):
        png(tmp_path, f"yolo/images/{split}/1.png")
        png(tmp_path, f"yolo/labels/{split}/1.png")
        png(tmp_path, f"seg/{split}/images/1.png")
        png(tmp_path, f"seg/{split}/masks/1.png")
    with caplog.at_level("WARNING", logger="absl"):
        for name in ("yolo", "seg"):
            source = sources.load(str(tmp_path / name), "train")
            assert (len(source), source.class_names) == (1, None)
    assert "images of masks/ are left out" in caplog.text


def test_images_whose_pixels_would_be_lost_or_have_no_range_are_refused(tmp_path):
    for name, pixels in (
        ("pages", np.zeros((5, 16, 16), np.uint16)),
        ("grey_pages", np.zeros((5, 16, 16), np.uint8)),
        ("complex", np.zeros((16, 16), np.complex64)),
    ):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "1.tif", pixels)
        with pytest.raises(UserError, match=r"a TIFF of 5 pages: save its channels|a TIFF of complex64"):
            sources.load(str(tmp_path / name), "train")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.png").write_text("x")
    with pytest.raises(UserError, match=r"none of 1 images below .* is readable: .*1\.png: cannot identify"):
        sources.load(str(tmp_path / "broken"), "train")


def test_a_hard_link_is_the_file_it_is_of(tmp_path, caplog):
    png(tmp_path, "a/1.png")
    png(tmp_path, "b/2.png")
    os.link(tmp_path / "a" / "1.png", tmp_path / "b" / "again.png")
    source = sources.load(str(tmp_path), "train")
    assert [path.name for path in source.paths] == ["1.png", "2.png"]


def test_what_macos_puts_into_archives_is_no_class(tmp_path):
    for name in ("a/1.png", "b/2.png", "__MACOSX/a/1.png", "a/._1.png"):
        png(tmp_path, name)
    source = sources.load(str(tmp_path), "train")
    assert (len(source), source.class_names) == (2, ("a", "b"))
    for name in ("train/a/1.png", "train/b/2.png", "__MACOSX/train/a/1.png"):
        png(tmp_path / "split", name)
    assert len(sources.load(str(tmp_path / "split"), "train")) == 2


def test_classes_that_would_be_shown_alike_are_refused(tmp_path):
    png(tmp_path, "a\n/1.png")
    png(tmp_path, "a\\n/2.png")
    with pytest.raises(UserError, match=r"two class folders are both shown as a\\n: rename one"):
        sources.load(str(tmp_path), "train")


def test_what_a_decoder_says_is_words(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0" + bytes(range(200)))
    with pytest.raises(UserError, match=r"a\.tif: its decoder fails \(KeyError: 0\)|a\.tif: [a-z ]{9,}"):
        sources.load(str(tmp_path), "train")
