"""CLIP and SigLIP, and either with an image tower that does not learn: LiT."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from jssl import losses, models, rng, settings
from jssl.errors import UserError
from jssl.methods.base import Context, Output
from jssl.methods.multimodal.two_towers import WithText
from jssl.methods.networks import InBatchContrastive
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class ImageText(WithText, InBatchContrastive):
    """What methods of images and their captions share: two towers, and a projection without bias after each.

    The image tower is any encoder, the text tower a transformer, causal by default, that reads the end token.

    params  {'encoder', 'projector', 'text', 'text_projector', 'scale': float32[], the log of what cosines are
             multiplied by}

    Attributes:
      proj_dim: width of the embedding that both towers share.
      frozen_images: the image tower stays as it begins, in evaluation mode (LiT); it wants `init_from`.

    References:
      Zhai et al., LiT: Zero-Shot Transfer with Locked-image text Tuning, 2022. https://arxiv.org/abs/2111.07991
    """

    proj_dim: int = settings.size(512)
    frozen_images: bool = False

    @property
    def frozen(self) -> tuple[str, ...]:
        return ("encoder",) if self.frozen_images else ()

    def check(self, batch: Batch) -> None:
        super().check(batch)
        if len(batch["unlabeled"]["text"]) < 2:
            raise UserError(f"{type(self).__name__} compares pairs: a batch, or a part of it, needs two")

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        return {"projector": self._projector}

    @functools.cached_property
    def towers(self) -> dict[str, models.Network]:
        return {"text": self.text_tower, "text_projector": self._projector}

    @functools.cached_property
    def _projector(self) -> models.Network:
        return models.mlp((self.proj_dim,), batch_norm=False, last_bias=False, dtype=self.dtype)

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        return {**params, **self.init_scales()}, state

    @abc.abstractmethod
    def init_scales(self) -> Params:
        """The parameters that are numbers."""

    def forward_images(
        self, params: Params, stats: State, images: Array, key: Array
    ) -> tuple[dict[str, Array], State]:
        """The output of both networks of the images; of a frozen tower without gradient."""
        if not self.frozen_images:
            return self.forward(params, stats, images, key=key)
        features, _ = self.encoder.apply(params["encoder"], stats["encoder"], images, train=False)
        features = jax.lax.stop_gradient(features)
        z, own = self._projector.apply(params["projector"], stats["projector"], features, train=True)
        return {"encoder": features, "projector": z}, {**stats, "projector": own}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        (images,) = self.get_views(batch)
        seen, stats = self.forward_images(params, state["stats"], images, ctx.key)
        read, stats = self.forward_beside(
            params, stats, batch["unlabeled"]["text"], key=rng.derive(ctx.key, "text")
        )
        a, b = seen["projector"], read["text_projector"]
        similarity = self.similarity_form(len(a))
        value = self.pair_loss(params, a, b, similarity)
        accuracy, positive, negative = losses.contrastive_accuracy(a, b, similarity)
        metrics = {
            "contrastive/accuracy": accuracy,
            "contrastive/positive_similarity": positive,
            "contrastive/negative_similarity": negative,
            **{f"contrastive/{name}": params[name] for name in self.init_scales()},
        }
        return value, self.output({**state, "stats": stats}, batch, seen, metrics)

    @abc.abstractmethod
    def pair_loss(self, params: Params, images: Array, texts: Array, similarity: losses.Similarity) -> Array:
        """The loss of both embeddings, float[B, D] each."""

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        if modality != "text":
            return super().outputs(params, state, inputs, modality)
        found, _ = self.forward_beside(params, state["stats"], inputs, train=False)
        return {"features": found["text"], "embedding": found["text_projector"]}

    def collapse_causes(self) -> tuple[str, ...]:
        return ("captions that hardly differ",)


@dataclasses.dataclass(frozen=True)
class CLIP(ImageText):
    """CLIP: an image and its caption attract, those of all other pairs in the global batch repel.

    Attributes:
      temperature: of the softmax, at first.
      max_scale: the inverse temperature does not pass this.

    References:
      Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021.
      https://arxiv.org/abs/2103.00020
    """

    temperature: float = settings.positive(0.07)
    max_scale: float = settings.at_least_one(100.0)

    def init_scales(self) -> Params:
        return {"scale": jnp.asarray(-math.log(self.temperature), jnp.float32)}

    def pair_loss(self, params: Params, images: Array, texts: Array, similarity: losses.Similarity) -> Array:
        return losses.clip(images, texts, jnp.exp(params["scale"]), similarity)

    def constrained(self, params: Params) -> Params:
        return {**params, "scale": jnp.clip(params["scale"], 0.0, math.log(self.max_scale))}


@dataclasses.dataclass(frozen=True)
class SigLIP(ImageText):
    """SigLIP: every image and every caption in the global batch, by themselves, are a pair or are none.

    params  those of all `ImageText`, and 'bias': float32[]

    Attributes:
      scale: that cosines are multiplied by, at first.
      bias: that is added to them, at first: nearly all are no pair.

    References:
      Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023. https://arxiv.org/abs/2303.15343
    """

    scale: float = settings.positive(10.0)
    bias: float = -10.0

    def init_scales(self) -> Params:
        return {
            "scale": jnp.asarray(math.log(self.scale), jnp.float32),
            "bias": jnp.asarray(self.bias, jnp.float32),
        }

    def pair_loss(self, params: Params, images: Array, texts: Array, similarity: losses.Similarity) -> Array:
        return losses.siglip(images, texts, jnp.exp(params["scale"]), params["bias"], similarity)
