import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

from jssl.data import sources
from jssl.data.datasets import with_classes_of
from jssl.data.sources import ArraySource, BadImage
from jssl.data.sources.base import Renamed
from jssl.errors import UserError


def test_arrays(tmp_path):
    images = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    np.savez(tmp_path / "a.npz", images=images, labels=[1, 0], test_images=images[:1], test_labels=[1])
    train = sources.load(str(tmp_path / "a.npz"), "train")
    assert train.image_shape == (3, 3, 1)
    np.testing.assert_array_equal(train.labels(), [1, 0])
    assert len(sources.load(str(tmp_path / "a.npz"), "test")) == 1
    np.save(tmp_path / "b.npy", images)
    assert sources.load(str(tmp_path / "b.npy"), "train").labels() is None


def test_in_memory_keeps_count_of_the_unreadable(tmp_path):
    good = ArraySource("x", np.ones((3, 2, 2, 3), np.uint8), np.arange(3))

    class Broken(sources.Subset):
        def handles(self, indices):
            return [b"no image" if i == 1 else good.images[i] for i in indices]

        def gather(self, indices):
            return None

    memory = sources.in_memory(Broken(good, np.arange(3)))
    assert list(memory.bad) == [1]
    with pytest.raises(BadImage, match=r"x\[1\]"):
        memory.open(1)
    assert list(memory.take([2, 1]).bad) == [1]
    assert not memory.take([2, 0]).bad


def test_an_npy_is_mapped_and_only_rows_asked_for_are_read(tmp_path):
    images = np.random.default_rng(0).integers(0, 65536, (600, 4, 5), dtype=np.uint16)
    np.save(tmp_path / "a.npy", images)
    source = sources.load(str(tmp_path / "a.npy"), "train[100:]")
    assert isinstance(source, sources.NpySource)
    assert isinstance(sources.load(str(tmp_path / "a.npy"), "train").images, np.memmap)
    assert not source.is_in_memory
    part = source.take([3, 1])
    assert isinstance(part, sources.NpySource)
    np.testing.assert_array_equal(part.gather([0, 1])["image"][..., 0], images[[103, 101]])
    np.testing.assert_array_equal(part.handles([1])[0][..., 0], images[101])
    assert len(pickle.dumps(source)) < 10_000  # worker processes open the file, its pixels do not travel
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(part)).gather([0])["image"], part.gather([0])["image"]
    )
    memory = sources.in_memory(source)
    assert memory.is_in_memory
    np.testing.assert_array_equal(memory.images[..., 0], images[100:])
    np.save(tmp_path / "b.npy", np.zeros((2, 3, 3), complex))
    with pytest.raises(
        UserError, match=r"must be uint8, uint16 or floats\[N, H, W, C\], not complex128\[2, 3, 3, 1\]"
    ):
        sources.load(str(tmp_path / "b.npy"), "train")


def test_a_mapped_array_is_told_from_another(tmp_path):
    images = np.zeros((600, 2, 2, 1), np.uint8)
    np.save(tmp_path / "a.npy", images)
    images[0] = 1
    np.save(tmp_path / "b.npy", images)
    first, second = (sources.load(str(tmp_path / f"{name}.npy"), "train") for name in "ab")
    assert first.content_checksum() == sources.load(str(tmp_path / "a.npy"), "train").content_checksum()
    assert first.content_checksum() != second.content_checksum()
    assert first.content_checksum() != first.take(range(500)).content_checksum()


def test_gather_gives_rows_of_all_fields_where_none_is_unreadable():
    images = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 5), dtype=np.uint8)
    source = ArraySource("x", images, np.arange(4) % 2, bad={1: "torn"})
    assert source.fields["label"].classes == ("0", "1")
    found = source.gather([3, 0])
    np.testing.assert_array_equal(found["image"], images[[3, 0]])
    np.testing.assert_array_equal(found["label"], [1, 0])
    assert source.gather([0, 1]) is None


def test_labels_of_any_kind_are_ranked_and_keep_their_values_as_names(tmp_path):
    images = np.zeros((4, 5, 5, 1), np.uint8)
    for labels, names in (
        (np.array([7, 3, 255, 3], np.uint8), ("3", "7", "255")),
        (np.array([7, 3, 2**40, 3], np.uint64), ("3", "7", str(2**40))),
        (np.array(["cat", "ant", "dog", "ant"]), ("ant", "cat", "dog")),
        (np.array([b"cat", b"ant", b"d\xffg", b"ant"]), ("ant", "cat", r"d\xffg")),
    ):
        source = sources.ArraySource("a", images, labels)
        assert source.class_names == names
        np.testing.assert_array_equal(source.labels(), [1, 0, 2, 0])
        assert source.take([2, 3]).class_names == names
        np.testing.assert_array_equal(source.take([2, 3]).labels(), [2, 0])


def test_one_image_is_not_many_grey_ones(tmp_path):
    one = np.zeros((64, 48, 3), np.uint8)
    np.save(tmp_path / "one.npy", one)
    np.savez(tmp_path / "one.npz", images=one)
    for name in ("one.npy", "one.npz"):
        with pytest.raises(UserError, match=r"uint8\[64, 48, 3\] looks like one image"):
            sources.load(str(tmp_path / name), "train")


def test_a_test_set_may_lack_classes_but_not_have_others(caplog):
    images = np.zeros((4, 5, 5, 1), np.uint8)
    train = sources.ArraySource("a", images, np.array([10, 20, 30, 10]))
    test = sources.ArraySource("b", images, np.array([30, 10, 10, 30]))
    with caplog.at_level("WARNING", logger="absl"):
        found = with_classes_of(train, test, "test", "train")
    assert "'test' lacks 1 classes of 'train': 20" in caplog.text
    for source in (
        found,
        Renamed(test, train.class_names),
        Renamed(test.take([0, 1, 2, 3]), train.class_names),
    ):
        assert source.class_names == ("10", "20", "30")
        np.testing.assert_array_equal(source.labels(), [2, 0, 0, 2])
        np.testing.assert_array_equal(source.gather([0, 1])["label"], [2, 0])
    other = sources.ArraySource("c", images, np.arange(100, 104))
    with pytest.raises(UserError, match=r"4 classes of 'test' are not in 'train' \(100, 101, 102, \.\.\.\)"):
        with_classes_of(train, other, "test", "train")
    with pytest.raises(UserError, match=r"'test' has no labels, and 'train' has"):
        with_classes_of(train, sources.ArraySource("d", images), "test", "train")


def hostile(path, shape, content=b"", method=zipfile.ZIP_STORED):
    """An .npz whose only array declares a shape and has some content."""
    with zipfile.ZipFile(path, "w", method) as archive, archive.open("images.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.write(content)
    return str(path)


def test_archives_that_are_not_what_they_say_are_one_line(tmp_path, monkeypatch):
    huge = hostile(tmp_path / "huge.npz", (2**40, 8, 8, 1))
    with pytest.raises(
        UserError, match=r"huge\.npz: images\.npy says that it is 70,368,744,177,664 bytes and is"
    ):
        sources.load(huge, "train")
    bomb = hostile(tmp_path / "bomb.npz", (1000, 64, 64, 1), bytes(1000 * 64 * 64), zipfile.ZIP_DEFLATED)
    with monkeypatch.context() as patch:
        patch.setattr("os.sysconf", lambda name: 1000)
        with pytest.raises(UserError, match=r"bomb\.npz unpacks to .* GiB of memory are free: give an \.npy"):
            sources.load(bomb, "train")
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        path = tmp_path / f"garbage{method}.npz"
        hostile(path, (64, 8, 8, 1), np.random.default_rng(0).bytes(64 * 64), method)
        content = bytearray(path.read_bytes())
        content[100:400] = bytes(300)
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"cannot read .*garbage{method}|garbage{method}"):
            sources.load(str(path), "train")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("images", "no array")
    with pytest.raises(UserError, match="'images' is no array"):
        sources.load(str(tmp_path / "text.npz"), "train")


def with_fields(content, **values):
    """An archive whose headers, local and central, have other values: fields by their place in either."""
    changed = bytearray(content)
    for magic, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        place = changed.find(magic)
        while place >= 0:
            for field, value in values.items():
                changed[place + {"flags": 6, "method": 8}[field] + shift] = value
            place = changed.find(magic, place + 4)
    return bytes(changed)


def test_encrypted_archives_and_what_was_pickled_are_one_line_that_advises_nothing_unsafe(tmp_path):
    images = np.zeros((12, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "good.npz", images=images)
    good = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "encrypted.npz").write_bytes(with_fields(good, flags=1))
    (tmp_path / "compression.npz").write_bytes(with_fields(good, method=97))
    np.savez(tmp_path / "objects.npz", images=np.array([{}, 1], object))
    np.save(tmp_path / "objects.npy", np.array([{}, 1], object))
    (tmp_path / "text.npy").write_text("hello")
    for name, words in (
        ("encrypted.npz", "encrypted"),
        ("compression.npz", "compression method is not supported"),
        ("objects.npz", "holds no numbers"),
        ("objects.npy", "holds no numbers"),
        ("text.npy", "holds no numbers"),
    ):
        with pytest.raises(UserError, match=f"cannot read .*{name}: .*{words}") as raised:
            sources.load(str(tmp_path / name), "train")
        assert "pickle" not in str(raised.value)


def test_labels_may_be_any_numbers(tmp_path):
    """No table as long as the largest is made."""
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 8, 8, 1), np.uint8), labels=[7, 2**40, 2_000_000_000, 7])
    source = sources.load(str(tmp_path / "a.npz"), "train")
    np.testing.assert_array_equal(source.labels(), [0, 2, 1, 0])
    assert source.class_names == ("7", "2000000000", str(2**40))


def test_arrays_that_are_something_else_are_told(tmp_path, caplog):
    images = np.zeros((12, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, label=np.arange(12))
    with caplog.at_level("WARNING", logger="absl"):
        assert sources.load(str(tmp_path / "a.npz"), "train").labels() is None
    assert "a.npz: not used: label; known are images, labels" in caplog.text
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(UserError, match=r"a\.npy is an \.npz: rename it"):
        sources.load(str(tmp_path / "a.npy"), "train")
    np.save(tmp_path / "first.npy", np.zeros((12, 3, 32, 32), np.uint8))
    (tmp_path / "first.npy").rename(tmp_path / "first.NPY")
    with pytest.raises(UserError, match=r"has its channels first: give images\.transpose\(0, 2, 3, 1\)"):
        sources.load(str(tmp_path / "first.NPY"), "train")
    np.save(tmp_path / "one.npy", np.zeros((32, 32, 1), np.uint8))
    with pytest.raises(UserError, match="looks like one image"):
        sources.load(str(tmp_path / "one.npy"), "train")


def test_parts_share_their_array():
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 3, 1), np.uint8)
    whole = ArraySource("x", images, np.arange(50) % 4, bad={7: "torn"})
    part = whole.take(np.arange(49, -1, -1)).take([1, 42, 3]).renamed(("0", "1", "2", "3", "4"))
    assert np.shares_memory(part._array, images)
    np.testing.assert_array_equal(part.images, images[[48, 7, 46]])
    np.testing.assert_array_equal(part.labels(), [0, 3, 2])
    assert part.bad == {1: "torn"}
    assert (
        part.content_checksum()
        == ArraySource("y", images[[48, 7, 46]], np.array([0, 3, 2]), part.class_names).content_checksum()
    )
    copy = pickle.loads(pickle.dumps(part))
    assert copy._array.shape == (3, 3, 3, 1)  # only what it is travels to worker processes
    assert (copy.bad, copy.class_names) == (part.bad, part.class_names)


def test_grey_and_colour_become_one_another_as_files_do():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    source = ArraySource("colours", pixels, np.arange(5))
    found = source.converted(1, "uint8")
    expected = [np.asarray(Image.fromarray(image).convert("L")) for image in pixels]
    np.testing.assert_array_equal(found.images[..., 0], expected)
    np.testing.assert_array_equal(found.labels(), np.arange(5))
    back = found.converted(3, "uint8")
    np.testing.assert_array_equal(back.images, np.repeat(found.images, 3, axis=-1))
    with pytest.raises(UserError, match="has images of 3 channels, uint8: give images of 4, uint8"):
        source.converted(4, "uint8")
