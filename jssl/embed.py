"""python -m jssl.embed --workdir=RUN --data=FOLDER_OR_TFDS --out=features.npz|.parquet [--modality=text|audio]

With --weights=FILE in the place of --workdir the encoder is one that others trained.
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from jssl import cli
from jssl.errors import UserError
from jssl.runs import embeddings, encoder, public_weights

if TYPE_CHECKING:
    from jssl.data.sources import Source
    from jssl.evaluation.extract import Features

MODALITIES = ("image", "text", "audio")


def main(_: list[str]) -> None:
    """Writes features float32[N, D], labels int32[N] (-1: none), names str[N] and class_names.

    Of captions there is a row for each, with the name of its image; they are in `captions`, too. A .parquet holds the
    images as well, see `runs.embeddings`.
    """
    from jssl.data import sources

    out = pathlib.Path(flags.FLAGS.out)
    embeddings.check(out)
    cli.check_out(out, flags.FLAGS.overwrite)
    given, kind = flags.FLAGS, flags.FLAGS.modality
    if bool(given.workdir) == bool(given.weights):
        raise UserError("give one of --workdir=RUN and --weights=FILE, of an encoder that others trained")
    if given.weights:
        if kind != "image":
            raise UserError(f"--modality={kind}: encoders of files see images")
        model = public_weights.load(given.weights, given.encoder, given.size)
    else:
        model = encoder.load(given.workdir, given.step)
    source = sources.load(
        *(flags.FLAGS.data, flags.FLAGS.split, flags.FLAGS.data_dir),
        captions=kind == "text",
        sound=model.sound_format,
        clips=model.clips,
    )
    features = {"image": encoder.Encoder.embed, "text": of_captions, "audio": of_sounds}[kind](model, source)
    captions = [text for own in (source.captions() or ()) for text in own] if kind == "text" else ()
    embeddings.write(out, features, source, captions, images=kind == "image")
    skipped = len(source) - len(set(features.index.tolist()))
    print(
        f"{len(features.x)} x {features.x.shape[1]} features in {out}"
        + (f", {skipped} unreadable" if skipped else "")
    )


def of_captions(model: encoder.Encoder, source: Source) -> Features:
    """Embeddings of all captions of a source, in a row those of an image.

    Raises:
      UserError: if it has none, or the run read none.
    """
    from jssl.evaluation.extract import Features, labels_of

    captions = source.captions()
    if captions is None:
        raise UserError(f"--modality=text: {source.name} has no captions, in captions.jsonl for example")
    index = np.repeat(np.arange(len(source)), [len(own) for own in captions]).astype(np.int32)
    return Features(model.text([text for own in captions for text in own]), labels_of(source)[index], index)


def of_sounds(model: encoder.Encoder, source: Source) -> Features:
    """Features of the sound beside every image, or of the sounds that are the images.

    Raises:
      UserError: if there is none, it is of another rate, or the run heard none.
    """
    from jssl.evaluation.extract import Features, labels_of

    if model.sound_format is not None:
        return model.embed(source)
    sounds = source.sounds()
    if sounds is None:
        raise UserError(f"--modality=audio: the images of {source.name} have no sound")
    if source.sound_rate != model.sound_rate:
        raise UserError(
            f"--modality=audio: the sound of {source.name} has {source.sound_rate} samples a second, that of the run "
            f"{model.sound_rate}"
        )
    return Features(model.audio(sounds), labels_of(source), np.arange(len(source), dtype=np.int32))


def define_flags() -> None:
    """Flags of this command line only."""
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_string(
        "weights", None, "In the place of a run: a file of public weights, see docs/weights.md."
    )
    flags.DEFINE_string(
        "encoder", "", "Its encoder, such as resnet50 or vit_s, if the file shall be checked for it."
    )
    flags.DEFINE_integer("size", 224, "Side of the images that such an encoder sees.")
    flags.DEFINE_string("data", None, "A folder of images, sounds or videos, an .npz, or a TFDS name.")
    flags.DEFINE_enum("modality", "image", MODALITIES, "What is embedded: images, their captions, or sound.")
    flags.DEFINE_string("split", "train", "Its split; TFDS slicing works.")
    flags.DEFINE_string("data_dir", None, "Of TFDS; default TFDS_DATA_DIR.")
    flags.DEFINE_integer("step", None, "The checkpoint to take; default the newest.")
    flags.DEFINE_string("out", "features.npz", "The file to write, an .npz or a .parquet.")
    flags.DEFINE_bool("overwrite", False, "Write over a file of that name.")


if __name__ == "__main__":
    define_flags()
    cli.run(main, required=["data"])
