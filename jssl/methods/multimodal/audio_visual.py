"""Audio-visual correspondence and synchronisation: do an image, or a clip, and a sound belong together, and in time?"""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import optax

from jssl import models, rng, settings
from jssl.errors import UserError
from jssl.losses import normalize
from jssl.methods.base import Context, Output, image_keys
from jssl.methods.batching import deinterleave, interleave
from jssl.methods.multimodal.two_towers import TwoTowers
from jssl.methods.multimodal.windows import STILL, Clip, Windows
from jssl.types import Array, Batch, Params, State

SCALE, THRESHOLD = 2.0, 1.0  # of the classifier of distances, at first


@dataclasses.dataclass(frozen=True)
class AudioVisual(TwoTowers):
    """Tells images with their own sound from images with that of another one.

    Every image meets its own sound and that of the next image in the batch, so that half of the pairs belong together.
    The sound is a picture of mel bands over time, which a ConvNet of its own sees.

    Of clips, images whose channels are frames, the other sound may be the clip's own at another time ('shifted'). A
    window of `encoder.window` frames then meets the sound of its own time and that of another window of the clip. Both
    are drawn alike, and cut from one sound without a seam, so that the sound alone never tells which of both it is.

    params  {'encoder', 'sound', 'pair_classifier', and with fusion 'distance' 'projector' and 'sound_projector'}

    Attributes:
      fusion: 'concat' classifies both features side by side (L3-Net); 'distance' only how far apart two embeddings of
        norm 1 are (AVE-Net), so that images and sounds find one another.
      hidden_dim: of the classifier, or of the projectors.
      proj_dim: of the embeddings.
      sound_width: channels of the first layer of the ConvNet that hears.
      sound_strides: of its layers.
      sound_over_time: whether the features of sound are averaged over bands alone and keep the order in time, which
        tells when something is heard; else over time, too.
      negative_sounds: 'another' meets the sound of another example (correspondence), 'shifted' the clip's own at
        another time (synchronisation).
      min_shift: seconds between a window and the other one whose sound it meets, at least.
      shifted_from: part of the run in which all negatives are of another example before shifted ones come (easy first).
      shifted_fraction: of the negatives from then on, the rest are of another example at the same time.
      clip: see `RunInfo`.

    References:
      Arandjelovic and Zisserman, Look, Listen and Learn, 2017. https://arxiv.org/abs/1705.08168
      Arandjelovic and Zisserman, Objects that Sound, 2018. https://arxiv.org/abs/1712.06651
      Owens and Efros, Audio-Visual Scene Analysis, 2018. https://arxiv.org/abs/1804.03641
      Korbar et al., Cooperative Learning of Audio and Video Models, 2018 (AVTS). https://arxiv.org/abs/1807.00230
    """

    modality = "audio"
    how_to_get_it = "sound: set data.audio.enabled=True"

    fusion: str = settings.choice("distance", ("distance", "concat"))
    hidden_dim: int = settings.size(128)
    proj_dim: int = settings.size(128)
    sound_width: int = settings.size(64)
    sound_strides: tuple[int, ...] = settings.sizes((2, 2, 2, 2))
    sound_over_time: bool = False
    negative_sounds: str = settings.choice("another", ("another", "shifted"))
    min_shift: float = settings.positive(0.5)
    shifted_from: float = settings.fraction(0.0)
    shifted_fraction: float = settings.part_above(1.0)
    clip: Clip = STILL

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        return {"projector": self._projector} if self.fusion == "distance" else {}

    @functools.cached_property
    def towers(self) -> dict[str, models.Network]:
        config = {"name": "convnet", "convnet": {"width": self.sound_width, "strides": self.sound_strides}}
        sound = models.encoder(config, dtype=self.dtype)
        sound = models.over_time(sound) if self.sound_over_time else sound
        sound = dataclasses.replace(sound, chunks=self.encoder.chunks)
        return {"sound": sound, **({"sound_projector": self._projector} if self.fusion == "distance" else {})}

    @functools.cached_property
    def classifier(self) -> models.Network:
        """Two logits of both features side by side."""
        return models.mlp((self.hidden_dim, 2), batch_norm=False, dtype=self.dtype)

    @functools.cached_property
    def _projector(self) -> models.Network:
        return models.mlp((self.hidden_dim, self.proj_dim), batch_norm=False, dtype=self.dtype)

    def check(self, batch: Batch) -> None:
        super().check(batch)
        if len(batch["unlabeled"]["audio"]) < 2:
            raise UserError(
                "AudioVisual needs a batch of two or more: a sound of another image is the next one's"
            )
        if self.negative_sounds == "shifted":
            self.windows.check()

    @functools.cached_property
    def windows(self) -> Windows:
        """Those whose frames and sounds are compared where negatives are shifted."""
        return Windows(self.clip, self.encoder.window, self.min_shift)

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        if self.negative_sounds == "shifted":
            part = batch["unlabeled"]
            batch = {**batch, "unlabeled": {**part, "audio": self.windows.middle_of(part["audio"])}}
        params, state = super().init(key, batch)
        if self.fusion == "distance":
            own = {"scale": jnp.float32(math.log(SCALE)), "threshold": jnp.float32(THRESHOLD)}
            return {**params, "pair_classifier": own}, state
        seen, _ = self.forward(params, state["stats"], self.get_views(batch)[0], train=False)
        heard, _ = self.forward_beside(params, state["stats"], batch["unlabeled"]["audio"], train=False)
        pair = jnp.concatenate([seen["encoder"], heard["sound"]], axis=1)
        own, _ = self.classifier.init(rng.derive(key, "pair_classifier"), pair)
        return {**params, "pair_classifier": own}, state

    def pair_logits(self, params: Params, images: Array, sounds: Array) -> Array:
        """Logits float32[B, 2] of 'another one's' and 'its own'.

        With fusion 'distance' they are of embeddings, and the nearer the likelier; else of features.
        """
        own = params["pair_classifier"]
        if self.fusion == "distance":
            nearness = jnp.exp(own["scale"]) * (own["threshold"] - distance(images, sounds))
            return jnp.concatenate([-nearness, nearness], axis=1)
        pair = jnp.concatenate([images, sounds], axis=1)
        return self.classifier.apply(own, {}, pair, train=False)[0]

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        seen, heard, stats = self._forward_pairs(params, state["stats"], batch, ctx)
        a, b = list(seen.values())[-1], heard[0]
        wrong = {"other": jnp.roll(b, -1, axis=0), "shifted": heard[-1]}
        wrong = wrong if self.negative_sounds == "shifted" else {"other": wrong["other"]}
        own = self.pair_logits(params, a, b)
        logits = {name: self.pair_logits(params, a, sound) for name, sound in wrong.items()}
        chosen = logits["other"]
        if self.negative_sounds == "shifted":
            chosen = jnp.where(self._shifts(ctx, batch)[:, None], logits["shifted"], chosen)
        value = jnp.mean(cross_entropy(own, 1) + cross_entropy(chosen, 0)) / 2
        metrics = {"correspondence/accuracy": accuracy(own, logits["other"])}
        if self.negative_sounds == "shifted":
            metrics["correspondence/synchronisation"] = accuracy(own, logits["shifted"])
        if self.fusion == "distance":
            metrics["correspondence/own_distance"] = jnp.mean(distance(a, b))
            for name, sound in wrong.items():
                metrics[f"correspondence/{name}_distance"] = jnp.mean(distance(a, sound))
        return value, self.output({**state, "stats": stats}, batch, seen, metrics)

    def _forward_pairs(
        self, params: Params, stats: State, batch: Batch, ctx: Context
    ) -> tuple[dict[str, Array], list[Array], State]:
        """The outputs for images, those for their sound (and for that of another time), and the new statistics."""
        (images,), pictures = self.get_views(batch), batch["unlabeled"]["audio"]
        sounds = [pictures]
        if self.negative_sounds == "shifted":
            windows = self.windows
            begins = windows.draw(image_keys(rng.derive(ctx.key, "shift"), batch["unlabeled"]))
            images = windows.seen(images, begins[:, 0])
            sounds = [windows.heard(pictures, begins[:, which]) for which in (0, 1)]
        seen, stats = self.forward(params, stats, images, key=ctx.key)
        key = rng.derive(ctx.key, "sound")
        heard, stats = self.forward_beside(params, stats, interleave(sounds), key=key)
        rows = [len(sound) for sound in sounds]
        return seen, deinterleave(list(heard.values())[-1], rows), stats

    def _shifts(self, ctx: Context, batch: Batch) -> Array:
        """Which examples meet a shifted sound now, bool[B]."""
        keys = image_keys(rng.derive(ctx.key, "negatives"), batch["unlabeled"])
        drawn = jax.vmap(lambda key: jax.random.bernoulli(key, self.shifted_fraction))(keys)
        return drawn & (ctx.progress >= self.shifted_from)

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        """As `Method.outputs`.

        With fusion 'distance' 'embedding_map' float32[B, h, w, E], too: the embedding that the place of an image would
        have, if the encoder's map had its features everywhere. Where synchronisation is learnt 'windows'
        float32[B, K * E]: what `pair_logits` takes of the windows at `windows.places`, one after the other.
        """
        if self.negative_sounds != "shifted":
            return self._outputs(params, state, inputs, modality)
        windows, rows = self.windows, len(inputs)
        cut = windows.heard if modality == "audio" else windows.seen
        parts = [cut(inputs, jnp.full(rows, place)) for place in windows.places.tolist()]
        each = self._outputs(params, state, interleave(parts), modality)
        compared = each["embedding" if self.fusion == "distance" else "features"]
        inputs = windows.middle_of(inputs) if modality == "audio" else inputs
        found = self._outputs(params, state, inputs, modality)
        return {**found, "windows": compared.reshape(rows, -1)}

    def _outputs(self, params: Params, state: State, inputs: Array, modality: str) -> dict[str, Array]:
        if modality != "audio":
            found = super().outputs(params, state, inputs, modality)
            if self.fusion != "distance":
                return {"features": found["features"]}
            return {**found, **self._embedding_map(params, state["stats"], inputs)}
        heard, _ = self.forward_beside(params, state["stats"], inputs, train=False)
        found = {"features": heard["sound"]}
        return {**found, "embedding": heard["sound_projector"]} if self.fusion == "distance" else found

    def _embedding_map(self, params: Params, stats: State, images: Array) -> dict[str, Array]:
        """'embedding_map', of encoders that have a map."""
        if not hasattr(self.encoder.module, "feature_map"):
            return {}
        maps = self.encoder.feature_map(params["encoder"], stats["encoder"], images)
        cells = maps.reshape(-1, maps.shape[-1])
        found, _ = self._projector.apply(params["projector"], stats["projector"], cells, train=False)
        return {"embedding_map": found.reshape(*maps.shape[:-1], -1)}

    def collapse_causes(self) -> tuple[str, ...]:
        return ("sounds that hardly differ",)


def cross_entropy(logits: Array, label: int) -> Array:
    """Of logits [B, 2] with one label, float32[B]."""
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, jnp.full(len(logits), label))


def accuracy(own: Array, other: Array) -> Array:
    """Part of the pairs that are told by their logits [B, 2]: of those that belong together, and of the others."""
    return (jnp.mean(own[:, 1] > own[:, 0]) + jnp.mean(other[:, 1] <= other[:, 0])) / 2


def distance(first: Array, second: Array) -> Array:
    """The distance of rows that are normalised first, float32[B, 1] in [0, 2]."""
    squared = jnp.sum((normalize(first) - normalize(second)) ** 2, axis=1, keepdims=True)
    return jnp.sqrt(jnp.maximum(squared, 1e-12))
