"""From a file, bytes or an array to the pixels of one image, uint8, uint16 or floats, any number of channels."""

from __future__ import annotations

import functools
import io
import math
import pathlib
import struct
import zlib
from typing import TypeAlias

import numpy as np
from etils import epath
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, SAMPLEFORMAT, TiffImageFile

from jssl import storage
from jssl.errors import shown

Path: TypeAlias = pathlib.Path | epath.Path
Opened: TypeAlias = Image.Image | np.ndarray  # an array where Pillow has no mode for it

# Of Pillow's formats those of photographs and scans, as far as this Pillow reads them.
FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "GIF", "WEBP", "PPM", "TIFF", "JPEG2000", "TGA", "AVIF")
LARGEST = 2**26  # pixels of an image; several are decoded at once
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's, of 8 bits
# What decoders raise on broken files. Memory that runs out, say, is not the file's fault.
DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
ORIENTATION, ON_ITS_SIDE = 0x0112, range(5, 9)  # of EXIF
_GREY = ("1", "L", "LA", "La")
_TIFF_BEGINS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_LUMA = np.array([0.299, 0.587, 0.114])
_WIDER = 257  # 255 becomes 65535


@functools.cache
def formats() -> tuple[str, ...]:
    """Those that this Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


class UnsupportedImage(ValueError):
    """A whole file whose pixels are of a kind that is not read."""


def why(error: Exception) -> str:
    """What a decoder says of a file, in words."""
    said = shown(error)
    plain = isinstance(error, (OSError, ValueError)) and any(map(str.isalpha, said))
    return said if plain else f"its decoder fails ({type(error).__name__}: {said})"


def open_image(handle: Path | bytes | np.ndarray) -> Opened:
    """Opens lazily: for files only the header is read, unless they are TIFFs that Pillow has no mode for.

    Raises:
      UnsupportedImage: for colour PNGs of 16 bits a channel, for TIFFs of several pages and of complex numbers.
      Exception: whatever the decoder says of a broken file.
    """
    if isinstance(handle, np.ndarray):
        return from_array(handle)
    if not isinstance(handle, bytes) and storage.is_remote(handle):
        handle = handle.read_bytes()
    try:
        image = Image.open(io.BytesIO(handle) if isinstance(handle, bytes) else handle, formats=formats())
    except UnidentifiedImageError:
        if _begins(handle) not in _TIFF_BEGINS:
            raise
        return _read_tiff(handle)
    if math.prod(image.size) > LARGEST:
        width, height = image.size
        raise UnsupportedImage(f"of {width} x {height} pixels, more than {LARGEST:,}: cut it into tiles")
    if isinstance(image, TiffImageFile):
        _check_pages(image)
        return image if _is_for_pillow(image) else _read_tiff(handle)
    if image.format == "PNG" and not _is_deep(image) and any(";16" in str(tile[3]) for tile in image.tile):
        raise UnsupportedImage(
            "a PNG of 16 bits a channel in colour, which Pillow cuts to 8: save it as .tif or as an array"
        )
    return image


def _is_for_pillow(image: TiffImageFile) -> bool:
    """Whether Pillow gives the pixels of a TIFF as they are: unsigned of 8 or, grey, of 16 bits, or grey floats."""
    bits = max(image.tag_v2.get(BITSPERSAMPLE, (1,)))
    unsigned = set(image.tag_v2.get(SAMPLEFORMAT, (1,))) <= {1}
    return image.mode == "F" or (unsigned and (bits <= 8 or (bits <= 16 and _is_deep(image))))


def _check_pages(image: TiffImageFile) -> None:
    """Raises UnsupportedImage for a TIFF of several pages alike, of which all but the first would be lost."""
    if image.n_frames == 1:
        return
    size = image.size
    image.seek(1)
    alike = image.size == size
    image.seek(0)
    if alike:
        raise UnsupportedImage(
            f"a TIFF of {image.n_frames} pages: save its channels as one page, axes YXS, or each page as a file"
        )


def from_array(pixels: np.ndarray) -> Opened:
    """Pixels [H, W, C] as `open_image` gives them: by Pillow where it has a mode for them, else as they are."""
    if pixels.dtype != np.uint8 or pixels.shape[-1] not in (1, 3):
        return pixels
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def describe(image: Opened) -> tuple[int, np.dtype]:
    """Channels and dtype that the pixels of an opened image have by themselves."""
    if isinstance(image, np.ndarray):
        return image.shape[-1], image.dtype
    if image.mode == "F":
        return 1, np.dtype(np.float32)
    if _is_deep(image):
        return 1, np.dtype(np.uint16)
    return (1 if image.mode in _GREY else 3), np.dtype(np.uint8)


def size_of(image: Opened) -> tuple[int, int]:
    """The width and height of an opened image."""
    return (image.shape[1], image.shape[0]) if isinstance(image, np.ndarray) else image.size


def upright_size(image: Opened) -> tuple[int, int]:
    """The width and height of an image as `upright` would turn it, from its header."""
    width, height = size_of(image)
    turned = not isinstance(image, np.ndarray) and image.getexif().get(ORIENTATION, 1) in ON_ITS_SIDE
    return (height, width) if turned else (width, height)


def upright(image: Opened) -> Opened:
    """Turns a photograph as its camera noted; where nothing is noted it stays undecoded."""
    if isinstance(image, np.ndarray) or not (image.info.get("exif") or image.format == "TIFF"):
        return image
    return ImageOps.exif_transpose(image)


def eight_bit(image: Image.Image, channels: int) -> Image.Image:
    """In Pillow's mode of so many channels of 8 bits, at most 4.

    Raises:
      ValueError: if it has more bits, which would be lost.
    """
    if _is_deep(image):
        raise ValueError("16 bits a pixel where the other images have 8: convert it, or all the others")
    return _opaque(image).convert(MODES[channels]) if channels in (1, 3) else image.convert(MODES[channels])


def to_array(
    image: Opened, channels: int, dtype: np.dtype | type = np.uint8, widen: bool = True
) -> np.ndarray:
    """Decodes to dtype[H, W, channels], upright as the camera meant it.

    Grey is repeated for colour, colour is made grey with the weights of ITU-R 601, 8 bits are spread over 16 (255
    becomes 65535) unless they shall not `widen`.

    Raises:
      ValueError: if the image has more bits, or another number of channels that is not 1 or 3.
    """
    image, dtype = upright(image), np.dtype(dtype)
    if not isinstance(image, np.ndarray):
        if dtype == np.uint8 and channels in MODES:
            pixels = np.asarray(eight_bit(image, channels))
            return pixels[..., None] if channels == 1 else pixels
        image = _pixels(image)
    if not widen and image.dtype != dtype:
        raise ValueError(f"pixels of {image.dtype} where data.value_range is of {dtype}")
    return _widened(_with_channels(image, channels), dtype)


def _opaque(image: Image.Image) -> Image.Image:
    """An image on white, if it is transparent somewhere: what lies under that is nothing to be seen."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    """Whether Pillow holds more than 8 bits a pixel."""
    return image.mode.startswith(("I", "F"))


def _pixels(image: Image.Image) -> np.ndarray:
    """All that Pillow holds: uint16, float32 or uint8[H, W, 1], or uint8[H, W, 3]."""
    if not _is_deep(image):
        mode = "L" if image.mode in _GREY else "RGB"
        pixels = np.asarray(_opaque(image).convert(mode))
        return pixels[..., None] if mode == "L" else pixels
    pixels = np.asarray(image)
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32)[..., None]
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(f"pixels of mode {image.mode} that uint16 does not hold: save them as floats")
    return pixels.astype(np.uint16)[..., None]


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    found = pixels.shape[-1]
    if found == channels:
        return pixels
    if (found, channels) == (1, 3):
        return np.repeat(pixels, 3, axis=-1)
    if (found, channels) == (3, 1):
        grey = (pixels @ _LUMA)[..., None]
        return grey.astype(pixels.dtype) if pixels.dtype.kind == "f" else np.round(grey).astype(pixels.dtype)
    raise ValueError(f"{found} channels where the other images have {channels}")


def _widened(pixels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if pixels.dtype == dtype:
        return pixels
    if dtype.kind == pixels.dtype.kind == "f":
        return pixels.astype(dtype)
    if dtype.kind != pixels.dtype.kind:
        raise ValueError(f"pixels of {pixels.dtype} where the other images have {dtype}")
    if dtype < pixels.dtype:
        raise ValueError("16 bits a pixel where the other images have 8: convert it, or all the others")
    return pixels.astype(dtype) * dtype.type(_WIDER)


def _begins(handle: Path | bytes) -> bytes:
    if isinstance(handle, bytes):
        return handle[:4]
    with handle.open("rb") as file:
        return file.read(4)


def _read_tiff(handle: Path | bytes) -> np.ndarray:
    """The first page of a TIFF, [H, W, C]: uint8, uint16, or float32 for all other numbers."""
    import tifffile

    content = handle if isinstance(handle, bytes) else handle.read_bytes()
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        if len(file.pages) > 1 and file.pages[1].shape == page.shape:
            raise UnsupportedImage(
                f"a TIFF of {len(file.pages)} pages: save its channels as one page, axes YXS, or each page as a file"
            )
        pixels = page.asarray()
        if page.axes == "SYX":  # one plane a channel
            pixels = np.moveaxis(pixels, 0, -1)
        elif page.axes == "YX":
            pixels = pixels[..., None]
        elif page.axes != "YXS":
            raise UnsupportedImage(f"a TIFF with axes {page.axes}: save it with axes YX or YXS")
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    if pixels.dtype.kind not in "uif":
        raise UnsupportedImage(f"a TIFF of {pixels.dtype}: save it as uint8, uint16 or floats")
    return pixels.astype(np.float32)
