"""Features with names, labels and images as files."""

from __future__ import annotations

import io
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
from PIL import Image

from jssl import storage
from jssl.data.sources import Source
from jssl.errors import UserError, of_system
from jssl.evaluation.extract import Features

KINDS = (".npz", ".parquet")
ROWS, BYTES = 1000, 1 << 28  # of a group, at most: what is in memory at a time


def check(out: pathlib.Path) -> None:
    """Refuses a file of another kind, or what has no package here.

    Raises:
      UserError: says which kinds there are, or what to install.
    """
    if out.suffix not in KINDS:
        raise UserError(f"--out={out} must end in {' or '.join(KINDS)}")
    if out.suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise UserError(f"--out={out} needs: pip install 'jssl[parquet]'") from error


def write(
    out: pathlib.Path, features: Features, source: Source, captions: Sequence[str] = (), images: bool = True
) -> None:
    """Writes features, labels, names and captions, whole or not at all.

    Args:
      out: an .npz with the arrays features float32[N, D], labels int32[N] (-1: none), names str[N], class_names and
        captions; or a .parquet with a row for each of them, where a label that there is none of is null, and with the
        images, as PNGs, so that viewers of embeddings show them.
      features: of some of the source's images.
      source: what they are of.
      captions: what each row is of, where that is a text.
      images: whether a .parquet holds those that a PNG can hold.

    Raises:
      UserError: if it cannot be written.
    """
    names = [source.filename(int(i)) for i in features.index]
    classes = list(source.class_names or ())
    try:
        with storage.writing(out) as file:
            if out.suffix == ".parquet":
                _parquet(file, features, names, classes, captions, source if images else None)
            else:
                arrays: dict[str, Any] = {"features": features.x, "labels": features.labels}
                arrays |= {"names": np.asarray(names), "class_names": classes}
                arrays |= {"captions": captions} if len(captions) else {}
                np.savez(file, **arrays)
    except OSError as error:
        raise of_system(error, f"cannot write --out={out}") from error


def _parquet(
    file: IO[bytes],
    features: Features,
    names: Sequence[str],
    classes: Sequence[str],
    captions: Sequence[str],
    source: Source | None,
) -> None:
    """Rows in groups; the type of images is noted as Hugging Face's datasets does it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields: list[Any] = [
        ("features", pa.list_(pa.float32(), features.x.shape[1])),
        ("label", pa.int32()),
        ("class", pa.string()),
        ("name", pa.string()),
    ]
    fields += [("caption", pa.string())] if len(captions) else []
    images = source is not None and _has_pictures(source)
    about = {"image": {"_type": "Image"}}
    schema = pa.schema(fields)
    if images:
        schema = schema.append(pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": about}})})
    rows = _rows(features, names, classes, captions, source if images else None)
    with pq.ParquetWriter(file, schema) as writer:
        for group in _groups(rows):
            writer.write_batch(pa.RecordBatch.from_pylist(group, schema))


def _groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows in lists that memory holds, however large the images are."""
    group, size = list[dict[str, Any]](), 0
    for row in rows:
        group.append(row)
        size += len(row["image"]["bytes"]) if "image" in row else 0
        if len(group) == ROWS or size >= BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _rows(
    features: Features,
    names: Sequence[str],
    classes: Sequence[str],
    captions: Sequence[str],
    source: Source | None,
) -> Iterator[dict[str, Any]]:
    for n in range(len(names)):
        label = int(features.labels[n])
        row = {"features": features.x[n], "name": names[n]}
        row |= {
            "label": label if label >= 0 else None,
            "class": classes[label] if 0 <= label < len(classes) else None,
        }
        row |= {"caption": captions[n]} if len(captions) else {}
        if source is not None:
            row["image"] = {"bytes": _png(source, int(features.index[n])), "path": names[n]}
        yield row


def _has_pictures(source: Source) -> bool:
    return source.dtype == np.uint8 and source.channels in (1, 3)


def _png(source: Source, index: int) -> bytes:
    pixels = source.decode(source.open(index), index)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()
