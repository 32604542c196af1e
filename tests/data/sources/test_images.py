"""Pixels of any number of channels, of 8 or 16 bits, come out of every kind of source as they went in."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from jssl.data import sources
from jssl.data.pipeline import EvalBatches, TrainBatches
from jssl.data.sources import BadImage, images
from jssl.errors import UserError
from tests.data.sources.files import TFDS, needs_prepared

CHANNELS, DTYPES = (1, 3, 5), ("uint8", "uint16")


def pixels(channels, dtype, count=4, height=9, width=7, seed=0):
    most = np.iinfo(dtype).max
    shape = (count, height, width, channels)
    return np.random.default_rng(seed).integers(0, most, shape, endpoint=True).astype(dtype)


def write_tif(path, image, **options):
    flat = image[..., 0] if image.shape[-1] == 1 else image
    photometric = "rgb" if image.shape[-1] == 3 else "minisblack"
    planar = None if image.shape[-1] == 1 else "contig"
    tifffile.imwrite(path, flat, **{"photometric": photometric, "planarconfig": planar, **options})


def as_npz(folder, stored):
    np.savez(folder / "a.npz", images=stored)
    return folder / "a.npz"


def as_npy(folder, stored):
    np.save(folder / "a.npy", stored)
    return folder / "a.npy"


def as_tif(folder, stored):
    for i, image in enumerate(stored):
        write_tif(folder / f"{i}.tif", image)
    return folder


def as_png(folder, stored):
    for i, image in enumerate(stored):
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(folder / f"{i}.png")
    return folder


KINDS = {
    (kind, channels, dtype) for kind in (as_npz, as_npy, as_tif) for channels in CHANNELS for dtype in DTYPES
} | {(as_png, 3, "uint8"), (as_png, 1, "uint16")}


@pytest.mark.parametrize(
    ("kind", "channels", "dtype"), sorted(KINDS, key=str), ids=lambda x: getattr(x, "__name__", str(x))
)
def test_every_kind_of_source_gives_back_what_was_stored(kind, channels, dtype, tmp_path):
    stored = pixels(channels, dtype)
    source = sources.load(str(kind(tmp_path, stored)), "train")
    if kind is as_tif and (channels, dtype) == (1, "uint8"):
        stored = stored.repeat(3, axis=-1)  # grey files of 8 bits are read as colour ones
    assert (source.channels, source.dtype, len(source)) == (stored.shape[-1], np.dtype(dtype), 4)
    assert source.fields["image"].dtype == dtype
    for i, image in enumerate(stored):
        np.testing.assert_array_equal(source.decode(source.open(i), i), image)
    part = source.take([2, 0])
    np.testing.assert_array_equal(part.decode(part.open(0), 0), stored[2])
    batch = EvalBatches(part, 2, process=0, processes=1)[0]
    np.testing.assert_array_equal(batch["image"], stored[[2, 0]])
    assert batch["image"].dtype == dtype
    batch = TrainBatches(source, 4, seed=0, steps=1, process=0, processes=1)[0]
    np.testing.assert_array_equal(batch["image"], stored[batch["index"]])


@needs_prepared("mr_head_16bit")
def test_sixteen_bit_tfds_images_keep_their_bits():
    source = sources.load("mr_head_16bit", "train[:8]", TFDS)
    assert (source.image_shape, source.dtype, source.class_names) == ((160, 160, 1), np.uint16, None)
    memory = sources.in_memory(source)
    assert memory.images.dtype == np.uint16
    assert memory.images.max() > 255
    assert len(np.unique(memory.images)) > 256
    (encoded,) = source.handles([5])
    np.testing.assert_array_equal(memory.images[5][..., 0], np.asarray(Image.open(io.BytesIO(encoded))))


@pytest.mark.parametrize("options", [{"planarconfig": "separate"}, {"compression": "zlib"}])
def test_tiffs_by_planes_or_compressed(options, tmp_path):
    image = pixels(5, "uint16", 1)[0]
    stored = np.moveaxis(image, -1, 0) if "planarconfig" in options else image
    write_tif(tmp_path / "a.tif", stored, **options)
    np.testing.assert_array_equal(images.to_array(images.open_image(tmp_path / "a.tif"), 5, np.uint16), image)


def test_sixteen_bit_tiffs_of_pillow(tmp_path):
    grey = pixels(1, "uint16", 1)[0]
    Image.fromarray(grey[..., 0]).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(images.to_array(images.open_image(tmp_path / "a.tif"), 1, np.uint16), grey)


def test_eight_bits_among_sixteen_are_widened(tmp_path):
    Image.fromarray(np.array([[0, 1000, 65535]], np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(tmp_path / "b.png")
    source = sources.load(str(tmp_path), "train")
    assert (source.channels, source.dtype) == (1, np.uint16)
    np.testing.assert_array_equal(source.decode(source.open(1), 1)[0, :, 0], [0, 257, 65535])
    Image.fromarray(np.full((1, 3, 3), [10, 20, 30], np.uint8)).save(tmp_path / "c.png")
    source = sources.load(str(tmp_path), "train")
    assert (source.channels, source.dtype) == (3, np.uint16)
    np.testing.assert_array_equal(source.decode(source.open(0), 0)[0, 1], [1000] * 3)
    np.testing.assert_array_equal(source.decode(source.open(2), 2)[0, 1], np.array([10, 20, 30]) * 257)


def test_sixteen_bits_among_eight_are_told_not_cut(tmp_path):
    """Where the sixteen files looked at have 8 bits, one of 16 counts as unreadable."""
    for i in range(40):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{i:02}.png")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "01.png")
    source = sources.load(str(tmp_path), "train")
    assert (source.channels, source.dtype) == (3, np.uint8)
    with pytest.raises(BadImage, match=r"01\.png: 16 bits a pixel where the other images have 8"):
        source.decode(source.open(1), 1)


def png_of_sixteen_bit_colour(image):
    """By the PNG specification: Pillow cannot write one."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_what_cannot_be_read_exactly_is_said(tmp_path):
    for name in ("colour", "kinds", "mixed"):
        (tmp_path / name).mkdir()
    (tmp_path / "colour" / "a.png").write_bytes(png_of_sixteen_bit_colour(pixels(3, "uint16", 1)[0]))
    for number, dtype in enumerate((np.float32, np.uint8)):
        tifffile.imwrite(tmp_path / "kinds" / f"{number}.tif", np.zeros((4, 4), dtype))
    write_tif(tmp_path / "mixed" / "a.tif", pixels(5, "uint8", 1)[0])
    write_tif(tmp_path / "mixed" / "b.tif", pixels(3, "uint8", 1)[0])
    for name, message in (
        (
            "colour",
            r"a\.png is a PNG of 16 bits a channel in colour, which Pillow cuts to 8: save it as \.tif",
        ),
        ("kinds", r"has images of floats and of integers: give each kind a folder of its own"),
        ("mixed", "mixed has images of 3 and of 5 channels: give each kind a folder of its own"),
    ):
        with pytest.raises(UserError, match=message):
            sources.load(str(tmp_path / name), "train")


def test_grey_and_colour_become_one_another_and_nothing_else(tmp_path):
    folder = sources.load(str(as_png(tmp_path, pixels(3, "uint8"))), "train")
    grey = folder.converted(1, "uint16")
    assert (grey.channels, grey.dtype, folder.channels, folder.dtype) == (1, np.uint16, 3, np.uint8)
    expected = np.round(folder.decode(folder.open(0), 0) @ [0.299, 0.587, 0.114]) * 257
    found = grey.decode(grey.open(0), 0)[..., 0]
    np.testing.assert_allclose(found, expected, atol=257.0)
    assert folder.take([0]).converted(1, "uint8").decode(folder.open(0), 0).shape == (9, 7, 1)
    deep = sources.ArraySource("deep", pixels(5, "uint16"))
    assert deep.converted(5, "uint16") is deep
    for source, channels, dtype in (
        (deep, 3, "uint16"),
        (deep, 5, "uint8"),
        (grey, 1, "uint8"),
        (folder, 5, "uint8"),
    ):
        with pytest.raises(
            UserError, match=rf"has images of . channels, uint.*: give images of {channels}, {dtype}"
        ):
            source.converted(channels, dtype)


def test_files_are_read_in_the_formats_of_photographs_alone(tmp_path):
    """Pillow would start another program for this one."""
    (tmp_path / "cat.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    Image.new("RGB", (8, 8)).save(tmp_path / "dog.jpg")
    source = sources.load(str(tmp_path), "train")
    with pytest.raises(sources.BadImage, match=r"cat.jpg: cannot identify image file"):
        source.open(0)


def test_images_too_large_to_be_decoded_side_by_side_are_told(tmp_path):
    Image.new("1", (9000, 9000)).save(tmp_path / "map.png")
    with pytest.raises(
        UserError, match=r"map.png is of 9000 x 9000 pixels, more than 67,108,864: cut it into tiles"
    ):
        sources.load(str(tmp_path), "train")


def test_a_folder_that_is_called_like_a_data_set_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "mnist" / "1.png")
    with caplog.at_level("WARNING", logger="absl"):
        assert len(sources.load("mnist", "train")) == 1
    assert "data.name=mnist: the folder" in caplog.text
    caplog.clear()
    assert len(sources.load("./mnist", "train")) == 1
    assert not caplog.text


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "float32", "float64"])
def test_tiffs_of_signed_and_of_long_numbers_are_read_as_they_are(dtype, tmp_path):
    info = np.iinfo(dtype) if dtype[0] in "iu" else np.finfo("float32")
    pixels = (
        np.linspace(max(float(info.min), -1e6), min(float(info.max), 1e6), 64).reshape(8, 8).astype(dtype)
    )
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    source = sources.load(str(tmp_path), "train")
    found = source.decode(source.open(0), 0)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[..., 0], pixels.astype(np.float32))
