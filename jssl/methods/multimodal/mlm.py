"""Masked language modelling: the text tower alone learns from captions."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jssl import losses, models, rng, settings
from jssl.data.augment.tokens import HiddenTokens, hide_tokens
from jssl.errors import UserError
from jssl.methods.base import Context, Output, image_keys
from jssl.methods.multimodal.two_towers import WithText
from jssl.methods.networks import health
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class MLM(WithText):
    """Masked language modelling: a transformer tells what stood at some places of a caption, from all the others.

    The tower is CLIP's but for its attention, which is to both sides, and may be what a run of CLIP begins with. The
    features of a caption are the mean of its tokens. Images are not looked at: their encoder stays as it begins.

    params  {'encoder', 'text', 'token_predictor'}

    Attributes:
      mask_ratio: part of a caption's tokens that is predicted; one at least.
      masked_fraction: part of those that is seen as the mask token.
      random_fraction: part of those that is seen as a random token; the rest is seen as it is.
      text_mask: see `RunInfo`.

    References:
      Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding, 2019.
      https://arxiv.org/abs/1810.04805
    """

    text_causal: bool = False
    mask_ratio: float = settings.within(0.15, 0.01, 0.99)
    masked_fraction: float = settings.fraction(0.8)
    random_fraction: float = settings.fraction(0.1)
    text_mask: int = -1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.masked_fraction + self.random_fraction > 1:
            raise UserError(
                f"masked_fraction={self.masked_fraction} and random_fraction={self.random_fraction} are more than "
                "all chosen tokens: their sum must be at most 1"
            )

    @property
    def heads(self) -> dict[str, models.Network]:
        return {}

    @property
    def frozen(self) -> tuple[str, ...]:
        return ("encoder",)

    @functools.cached_property
    def towers(self) -> dict[str, models.Network]:
        return {"text": self.text_tower}

    @functools.cached_property
    def predictor(self) -> models.Network:
        """Scores of all tokens from features of places, and the embeddings of tokens."""
        return models.token_predictor(self.dtype)

    def check(self, batch: Batch) -> None:
        super().check(batch)
        if self.text_mask < 0:
            raise UserError(
                "MLM needs a tokeniser with a mask, [MASK] or <mask>; data.text.tokenizer='' trains one that has it"
            )

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        embeddings = params["text"]["token"]["embedding"]
        places = jnp.zeros((1, 1, self.text_features))
        own, _ = self.predictor.init(rng.derive(key, "token_predictor"), places, embeddings)
        return {**params, "token_predictor": own}, state

    def hide(self, keys: Array, tokens: Array, masked: float, replaced: float) -> HiddenTokens:
        """Tokens int32[B, N], some of which are hidden, by a key for each caption."""
        return hide_tokens(
            keys,
            tokens,
            end=self.text_end,
            mask=self.text_mask,
            vocabulary=self.text_vocabulary,
            ratio=self.mask_ratio,
            masked=masked,
            replaced=replaced,
        )

    def predict(
        self, params: Params, stats: State, hidden: HiddenTokens, key: Array | None = None
    ) -> tuple[Array, Array]:
        """Scores of all tokens at the chosen places, float32[B, K, V], and the features of all, float32[B, N, D]."""
        train, own = key is not None, (params["text"], stats["text"])
        x, _ = self.text_tower.apply(*own, hidden.tokens, train=train, key=key, method="tokens")
        chosen = jnp.take_along_axis(x, hidden.places[..., None], axis=1)
        embeddings = params["text"]["token"]["embedding"]
        return self.predictor.apply(params["token_predictor"], {}, chosen, embeddings, train=train)[0], x

    def predict_hidden(self, params: Params, state: State, tokens: Array, keys: Array) -> tuple[Array, Array]:
        """Scores float32[B, K, V] and what is right, int32[B, K] (-1: nothing), where all chosen tokens are masked."""
        hidden = self.hide(keys, tokens, 1.0, 0.0)
        return self.predict(params, state["stats"], hidden)[0], hidden.targets

    def pooled(self, tokens: Array, x: Array) -> Array:
        """The features of captions, float32[B, D], from those of their tokens."""
        places = models.up_to_end(tokens, self.text_end)[..., None]
        return jnp.sum(x * places, axis=1) / jnp.sum(places, axis=1)

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        stream = batch["unlabeled"]
        keys = image_keys(rng.derive(ctx.key, "hide"), stream)
        hidden = self.hide(keys, stream["text"], self.masked_fraction, self.random_fraction)
        logits, x = self.predict(params, state["stats"], hidden, rng.derive(ctx.key, "text"))
        targets, logits = hidden.targets.ravel(), logits.reshape(-1, logits.shape[-1])
        right = (jnp.argmax(logits, axis=1) == targets) & (targets >= 0)
        metrics = {
            **health(self.pooled(hidden.tokens, x)),
            "tokens/accuracy": jnp.sum(right) / jnp.maximum(1, jnp.sum(targets >= 0)),
        }
        (images,) = self.get_views(batch)
        seen, _ = self.forward(params, state["stats"], images, train=False)
        features = jax.lax.stop_gradient(seen["encoder"])
        output = Output(state, jax.lax.stop_gradient(metrics), features, stream.get("label"))
        return losses.cross_entropy(logits, targets), output

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        if modality != "text":
            return super().outputs(params, state, inputs, modality)
        x = self.text_tower.tokens(params["text"], state["stats"]["text"], inputs)
        features = self.pooled(inputs, x)
        return {"features": features, "embedding": features}

    def collapse_causes(self) -> tuple[str, ...]:
        return ("captions that hardly differ",)
