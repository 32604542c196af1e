"""The encoder of a run, for whoever has images."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from jssl import parallel, storage
from jssl.data import normalization
from jssl.data.datasets import sound_format
from jssl.data.sources.clips import ClipSpec
from jssl.data.sources.sounds import as_pixels
from jssl.data.text import Tokenizer
from jssl.errors import UserError
from jssl.runs.objects import NONE, Objects
from jssl.runs.restore import make_program, restore

if TYPE_CHECKING:
    from etils import epath

    from jssl.data.sources import SoundFormat, Source
    from jssl.evaluation.extract import Features
    from jssl.train.program import Program
    from jssl.train.state import TrainState


class Encoder:
    """A trained encoder that takes images of any one size, of the dtype and channels of its run, and gives features."""

    def __init__(self, program: Program, state: TrainState, tokenizer: Tokenizer | None = None):
        self._program, self._state, self._tokenizer = program, state, tokenizer

    @property
    def params(self):  # type: ignore[no-untyped-def]
        """The encoder's parameters, a pytree."""
        return self._program.method.eval_encoder(self._state.params, self._state.method_state)[0]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features of images.

        Args:
          images: [B, H, W, C] of the channels and the dtype (of floats any) that the training images are stored with;
            seen as the run's evaluators see theirs. However many: they pass in batches.

        Returns:
          float32[B, D].

        Raises:
          UserError: if the images are not that.
        """
        return self._of_images(images, "features")

    def _of_images(self, images: np.ndarray, output: str) -> np.ndarray:
        """An entry of `Method.outputs` for images, in batches."""
        images = np.asarray(images)
        info = self._program.info
        stored = np.dtype(info.stored_dtype)
        alike = images.dtype.kind == "f" == stored.kind or images.dtype == stored
        if not alike or images.ndim != 4 or images.shape[-1] != info.channels or 0 in images.shape[1:]:
            raise UserError(
                f"the encoder takes {stored}[B, H, W, {info.channels}], as it was trained on, not "
                f"{images.dtype}{list(images.shape)}"
            )
        if info.value_range is not None:
            low, high = info.value_range
            images = normalization.Spread(low, high, info.dtype)(images, 0)
        apply = functools.partial(self._program.output(output), self._state.params, self._state.method_state)
        largest = self._program.config.evals.batch_size
        rows = min(largest, 2 ** max(0, len(images) - 1).bit_length())  # few sizes, so few compilations
        parts = [
            np.asarray(apply(jnp.asarray(parallel.pad_rows(images[start : start + rows], rows))))
            for start in range(0, max(1, len(images)), rows)
        ]
        return np.concatenate(parts)[: len(images)]

    def embedding(self, images: np.ndarray) -> np.ndarray:
        """What the method compares, float32[B, E]: beside `text` of a run with captions. Images as in a call.

        Raises:
          UserError: if the images are not those, or the method has no embedding.
        """
        if "embedding" not in self._program.output_names:
            raise UserError(f"{type(self._program.method).__name__} has no embedding, only features")
        return self._of_images(images, "embedding")

    def text(self, texts: Sequence[str]) -> np.ndarray:
        """The embeddings of texts, float32[N, E], beside those of images.

        Raises:
          UserError: if the run had no captions.
        """
        from jssl.evaluation.extract import embed_texts

        if self._tokenizer is None or "text" not in self._program.method.modalities:
            raise UserError("this run read no captions, so its encoder does not read: see configs/clip.py")
        if isinstance(texts, str) or not isinstance(texts, Iterable):
            raise UserError(f"text takes a list of texts: [{texts!r}]")
        return embed_texts(self._program, self._state, self._tokenizer, list(texts))

    def audio(self, waves: np.ndarray, output: str = "features") -> np.ndarray:
        """Features of sounds, float32[N, D], of a run that heard them beside images or in their place.

        Args:
          waves: int16[N, samples] at the rate of the run, `data.audio.rate`; as many samples as it trained on.
          output: 'features', or 'embedding', which lies beside that of images.

        Raises:
          UserError: if the run heard no sound, or the waveforms are not those.
        """
        from jssl.evaluation.extract import outputs_of_sounds

        info, as_images = self._program.info, self._program.main.as_images
        samples = info.image_shape[1] if as_images and info.image_shape else info.audio_samples
        if not samples or not (as_images or "audio" in self._program.method.modalities):
            raise UserError(
                "this run heard no sound, so its encoder does not hear: see configs/audio_visual.py"
            )
        names = ("features", *({"embedding"} & self._program.output_names))
        if output not in names:
            raise UserError(f"output={output!r}: there are {' and '.join(names)}")
        try:
            waves = np.asarray(waves)
        except ValueError as error:
            raise UserError(f"audio takes int16[N, {samples}], rows of one length") from error
        if waves.dtype != np.int16 or waves.ndim != 2 or waves.shape[1] != samples:
            raise UserError(f"audio takes int16[N, {samples}], not {waves.dtype}{list(waves.shape)}")
        if as_images:
            return self._of_images(as_pixels(waves)[:, None, :, None], output)
        return outputs_of_sounds(self._program, self._state, waves, output)

    @property
    def sound_rate(self) -> int:
        """Samples a second of the sounds that it takes, `data.audio.rate`."""
        return int(self._program.config.data.audio.rate)

    @property
    def sound_format(self) -> SoundFormat | None:
        """The sounds that it takes in the place of images; None if it takes images."""
        return sound_format(self._program.config.data.audio)

    @property
    def clips(self) -> ClipSpec:
        """What it takes of videos."""
        return ClipSpec(**self._program.config.data.video)

    def embed(self, source: Source) -> Features:
        """Features of all readable images of a source, preprocessed as the evaluators do.

        Files are decoded to the channels and the dtype that the encoder takes; arrays must have them.

        Raises:
          UserError: if they have not, or a file's bits would be lost.
        """
        from jssl.evaluation.extract import extract_source

        info = self._program.info
        source = normalization.spread(source, info.value_range, info.stored_dtype)
        apply = functools.partial(self._program.features, self._state.params, self._state.method_state)
        return extract_source(self._program, apply, source.converted(info.channels, info.dtype))


def load(workdir: str | epath.Path, step: int | None = None, objects: Objects = NONE) -> Encoder:
    """The encoder of a run, of its newest checkpoint or of a step; the run's data are not needed.

    Raises:
      UserError: if the folder holds no run, or no checkpoint yet.
    """

    from jssl.runs import workdir as workdirs

    folder = storage.folder(workdir)
    config = workdirs.read_config(folder)
    prog = make_program(config, workdirs.read_info(folder), objects, for_training=False)
    description = workdirs.recorded_tokenizer(folder)
    tokenizer = None if description is None else Tokenizer(description, config.data.text.context)
    return Encoder(prog, restore(prog, folder, step), tokenizer)
