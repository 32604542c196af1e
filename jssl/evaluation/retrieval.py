"""Retrieval across modalities: the caption of an image among all captions, and the image of a caption."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from jssl import settings
from jssl.data.sources import Source
from jssl.data.sources.base import Captions
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.metrics import recall_at


@dataclasses.dataclass(frozen=True)
class Retrieval(Evaluator):
    """Recall at k of captions or sounds by images, and of images by those, on what is scored.

    Captions of the same words are one, so that an image may be found by that of another. Sounds of images of the same
    class are as good as its own, where there are classes. Chance is what an order drawn at random finds on average.

    Attributes:
      ks: numbers of neighbours.
    """

    name = "retrieval"
    needs = frozenset({"text or audio"})
    possible_baselines = ("untrained",)

    baselines: tuple[str, ...] = ("untrained",)
    ks: tuple[int, ...] = settings.sizes((1, 5, 10))

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None:
            return Evaluation()
        captions, waves = data.query.captions(), data.query.sounds()
        if captions is not None and "text" in ctx.program.method.modalities:
            return self._of_captions(encode, data.query, captions)
        if waves is not None and "embedding" in ctx.program.output_names:
            return self._of_sounds(encode, data, waves)
        return Evaluation()

    def _of_sounds(self, encode: Encode, data: EvalData, waves: np.ndarray) -> Evaluation:
        assert data.query is not None
        images = encode(data.query, "embedding")
        sounds = encode.sounds(waves[images.index], "embedding")
        groups = (images.labels if data.classes else images.index)[:, None]
        found = {
            "image_to_sound": recall_at(images.x, sounds, groups, groups, self.ks),
            "sound_to_image": recall_at(sounds, images.x, groups, groups, self.ks),
        }
        values = {f"{way}/{name}": value for way, each in found.items() for name, value in each.items()}
        shares = np.unique(groups, return_counts=True)[1] / len(groups)
        return Evaluation({**values, "chance_r1": float(np.sum(shares**2))})

    def _of_captions(self, encode: Encode, query: Source, captions: Captions) -> Evaluation:
        images = encode(query, "embedding")
        own = [captions[index] for index in images.index.tolist()]
        words = list(dict.fromkeys(itertools.chain.from_iterable(own)))
        number = {caption: place for place, caption in enumerate(words)}
        groups = np.full((len(own), max(map(len, own))), -1)
        for row, each in zip(groups, own):
            row[: len(each)] = [number[caption] for caption in each]
        texts, places = encode.texts(words), np.arange(len(words))[:, None]
        found = {
            "image_to_text": recall_at(images.x, texts, groups, places, self.ks),
            "text_to_image": recall_at(texts, images.x, places, groups, self.ks),
        }
        values = {f"{way}/{name}": value for way, each in found.items() for name, value in each.items()}
        right = float(np.mean([len(set(each)) for each in own]))
        return Evaluation({**values, "chance_r1": right / len(words)})
