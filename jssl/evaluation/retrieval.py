"""Retrieval across modalities: the caption of an image among all captions, and the image of a caption."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from jssl import settings
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.metrics import recall_at


@dataclasses.dataclass(frozen=True)
class Retrieval(Evaluator):
    """Recall at k of captions by images and of images by captions, on what is scored.

    Captions of the same words are one, so that an image may be found by that of another. Chance is what an order drawn
    at random finds on average.

    Attributes:
      ks: numbers of neighbours.
    """

    name = "retrieval"
    needs = frozenset({"text"})
    possible_baselines = ("untrained",)

    baselines: tuple[str, ...] = ("untrained",)
    ks: tuple[int, ...] = settings.sizes((1, 5, 10))

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        captions = None if data.query is None else data.query.captions()
        if data.query is None or captions is None:
            return Evaluation()
        images = encode(data.query, "embedding")
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
