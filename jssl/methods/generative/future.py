"""Prediction of the future in feature space: contrastive and dense predictive coding."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jssl import losses, models, rng, settings
from jssl.data.augment import patches
from jssl.errors import UserError
from jssl.methods.base import Context, Method, Output
from jssl.methods.networks import EncoderWithHeads, health
from jssl.models import Network
from jssl.models.flat import FlatMLP
from jssl.types import Array, Batch, Metrics, Params, State

MODES = ("time", "space")


class Plan(NamedTuple):
    """Which times of a sequence are predicted from where; three numbers for each prediction.

    Attributes:
      context: the last time that is seen.
      step: how many steps ahead it looks, from 1.
      target: the time that is predicted.
    """

    context: tuple[int, ...]
    step: tuple[int, ...]
    target: tuple[int, ...]

    def among(self, features: Array) -> tuple[Array, list[int], list[int]]:
        """Of features float[B, T, ...] the candidates, from the first target on; target and context in them."""
        first = min(self.target)
        target, context = ([time - first for time in times] for times in (self.target, self.context))
        return features[:, first:], target, context


@dataclasses.dataclass(frozen=True)
class Future(EncoderWithHeads):
    """Future prediction (CPC, DPC): features of the next frames, or of the patches below, from those before.

    In time a sequence is a clip, whose frames are an image's channels: the last `steps` are predicted from the others
    (DPC). In space it is the rows of a grid of overlapping patches, each of which predicts the rows below it (CPC).
    A GRU sums up what is seen, a head predicts from its state all steps at once, and each prediction must pick its own
    feature among those of all times, places and images of the batch, but for what it has seen. Evaluators see the mean
    over frames of a clip, and whole images.

    Attributes:
      mode: 'time' for frames, 'space' for patches.
      steps: how many frames or rows ahead are predicted.
      skip: frames or rows between what is seen and the first prediction: overlapping patches tell their neighbours.
      dense: whether every place of a frame's feature map predicts its own future, as in DPC; else its mean does.
      patch: side of a patch in pixels.
      stride: from one patch to the next, in pixels.
      context_dim: size of the GRU's state.
      context_kernel: places that it looks at along each axis: 1 is a GRU at each place of its own.
      pred_hidden_dim: width of the hidden layer of the predictor; 0 for a linear one.
      normalize: whether predictions and features are l2-normalised.
      temperature: that scores are divided by.

    References:
      van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018.
      https://arxiv.org/abs/1807.03748
      Han et al., Video Representation Learning by Dense Predictive Coding, 2019. https://arxiv.org/abs/1909.04656
    """

    views: tuple[str, ...] = ("first",)
    mode: str = settings.choice("time", MODES)
    steps: int = settings.size(3)
    skip: int = settings.count(0)
    dense: bool = False
    patch: int = settings.size(64)
    stride: int = settings.size(32)
    context_dim: int = settings.size(256)
    context_kernel: int = settings.size(1)
    pred_hidden_dim: int = settings.count(0)
    normalize: bool = False
    temperature: float = settings.positive(1.0)

    @property
    def heads(self) -> dict[str, Network]:
        return {}  # they see sequences, not features

    @property
    def context(self) -> Network:
        """The GRU that sums up what is seen."""
        return models.conv_gru(self.context_dim, self.context_kernel, self.dtype)

    def predictor(self, features: int) -> Network:
        """The head that predicts features of this size, of all steps."""
        hidden = (self.pred_hidden_dim,) if self.pred_hidden_dim else ()
        return models.mlp((*hidden, self.steps * features), batch_norm=False, dtype=self.dtype)

    def length(self, shape: tuple[int, ...]) -> int:
        """Times of the sequence that a batch of images [B, H, W, C] of a shape is: frames, or rows of patches."""
        return shape[-1] if self.mode == "time" else (shape[1] - self.patch) // self.stride + 1

    def plan(self, length: int) -> Plan:
        """What is predicted from where, in a sequence of so many times."""
        end = length - self.skip - 1  # from there on nothing is left to be predicted
        contexts = [end - self.steps] if self.mode == "time" else range(end)
        found = [
            (time, step, time + self.skip + step)
            for time in contexts
            for step in range(1, self.steps + 1)
            if time + self.skip + step < length
        ]
        return Plan(*zip(*found))

    def check(self, batch: Batch) -> None:
        Method.check(self, batch)
        shape = self.get_views(batch)[0].shape
        (self.check_clips if self.mode == "time" else self.check_grid)(shape)

    def check_clips(self, shape: tuple[int, ...]) -> None:
        """Raises UserError unless images [B, H, W, T] are clips of enough frames, and the encoder is one of frames."""
        module, frames = self.encoder.module, self.length(shape)
        if frames < self.steps + self.skip + 2:
            raise UserError(
                f"Future: motion takes two frames, and {self.steps} are predicted (skip={self.skip}) of {frames}: set "
                "method.steps smaller, give clips whose channels are frames, or method.mode='space' for still images"
            )
        if not hasattr(module, "frames"):
            raise UserError(
                f"Future predicts frames, and {type(module).__name__} sees all of them at once: set "
                "encoder.per_frame=True and encoder.head_layers=()"
            )
        if self.dense and self.encoder.pool == "cls":
            raise UserError(
                "Future: dense=True trains patches, not the class token: set encoder.vit.pool='gap'"
            )
        if self.dense and not hasattr(module.base, "feature_map"):
            raise UserError(
                f"Future: {type(module.base).__name__} has no feature map: set method.dense=False"
            )

    def check_grid(self, shape: tuple[int, ...]) -> None:
        """Raises UserError unless images [B, H, W, C] have enough rows of patches."""
        side = shape[1]
        if hasattr(self.encoder.module, "frames"):
            raise UserError(
                "Future: of patches encoder.per_frame sees one channel at a time: set it to False"
            )
        if isinstance(self.encoder.module, FlatMLP):
            raise UserError(
                "Future: evaluators see whole images and flat_mlp takes one size alone, that of a patch: set "
                "encoder.name='convnet'"
            )
        if self.patch > side:
            raise UserError(
                f"Future: patches of {self.patch} pixels are larger than the view of {side}: set method.patch"
            )
        rows, least = self.length(shape), self.steps + self.skip + 1
        if rows < least:
            raise UserError(
                f"Future: {self.steps} rows ahead with skip={self.skip} take {least} rows of patches, a view of {side} "
                f"pixels has {rows}: set method.steps, method.patch or method.stride smaller"
            )

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        images, params, stats = self.get_views(batch)[0], {}, {}
        inputs = self.images_of(images)
        params["encoder"], stats["encoder"] = self.encoder.init(rng.derive(key, "encoder"), inputs)
        features, _ = self.encode(params, {"encoder": stats["encoder"]}, images, None)
        params["context"], _ = self.context.init(rng.derive(key, "context"), features)
        states, _ = self.context.apply(params["context"], {}, features, train=False)
        predictor = self.predictor(features.shape[-1])
        params["predictor"], _ = predictor.init(rng.derive(key, "predictor"), states)
        return params, {"stats": stats}

    def images_of(self, images: Array) -> Array:
        """What the encoder sees of images [B, H, W, C]: clips as they are, or patches, those of an image in a row."""
        if self.mode == "time":
            return images
        cut = patches.overlapping(images, self.patch, self.stride)
        return cut.reshape(-1, *cut.shape[3:])

    def encode(self, params: Params, stats: State, images: Array, key: Array | None) -> tuple[Array, State]:
        """Features, float32[B, T, *places, D], and new statistics; in training mode if there is a key."""
        encoder = self.encoder if key is not None else self.encoder.without_drop_path()
        method = "__call__" if self.mode == "space" else "frame_maps" if self.dense else "frames"
        features, own = encoder.apply(
            params["encoder"],
            stats["encoder"],
            self.images_of(images),
            train=key is not None,
            key=key,
            method=method,
        )
        if not self.dense or self.mode == "space":  # rows of patches, or one place a frame
            features = features.reshape(len(images), self.length(images.shape), -1, features.shape[-1])
        return features, {**stats, "encoder": own}

    def encode_apart(self, params: Params, stats: State, images: Array, key: Array) -> tuple[Array, State]:
        """`encode` in training, of clips what is seen before what is predicted: each has batch statistics of its own.

        So no statistics tell a prediction of the future. Rows of patches, which are both, pass together.
        """
        if self.mode == "space":
            return self.encode(params, stats, images, key)
        seen = images.shape[-1] - self.steps - self.skip
        features = []
        for number, frames in enumerate((images[..., :seen], images[..., seen:])):
            found, stats = self.encode(params, stats, frames, rng.derive(key, "part", number))
            features.append(found)
        return jnp.concatenate(features, axis=1), stats

    def predict(self, params: Params, features: Array, plan: Plan) -> Array:
        """The predictions that a plan names, of a sequence float[B, T, *places, D]: float32[B, P, places, D]."""
        times, size = sorted(set(plan.context)), features.shape[-1]
        states, _ = self.context.apply(params["context"], {}, features[:, : times[-1] + 1], train=True)
        states = states[:, times].reshape(len(states), len(times), -1, self.context_dim)
        found, _ = self.predictor(size).apply(params["predictor"], {}, states, train=True)
        found = found.reshape(*found.shape[:3], self.steps, size)
        return jnp.stack(
            [found[:, times.index(time), :, step - 1] for time, step in zip(plan.context, plan.step)], axis=1
        )

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        images = self.get_views(batch)[0]
        features, stats = self.encode_apart(params, state["stats"], images, rng.derive(ctx.key, "encoder"))
        plan = self.plan(features.shape[1])
        predicted = self.predict(params, features, plan)
        features = features.reshape(*features.shape[:2], -1, features.shape[-1])
        pooled = jnp.mean(features, axis=(1, 2))
        if self.normalize:
            predicted, features = losses.normalize(predicted), losses.normalize(features)
        value = losses.predictive_info_nce(predicted, *plan.among(features), self.temperature)
        metrics = {**health(pooled), **accuracies(predicted, features, plan)}
        output = Output({**state, "stats": stats}, jax.lax.stop_gradient(metrics), pooled)
        return value, output._replace(labels=batch["unlabeled"].get("label"))


def accuracies(predicted: Array, features: Array, plan: Plan) -> Metrics:
    """Top-1 accuracy of predictions by step, and the floor: that of the last seen features, taken as the prediction.

    Those are compared by their cosine, for in a scalar product the longest candidate would win.

    Args:
      predicted: float[B, P, S, D].
      features: float[B, T, S, D].
      plan: P predictions of T times.

    Returns:
      'future/top1_1' and 'future/copy_last_1', and so on up to the last step, float[] in [0, 1].
    """
    unit = losses.normalize(features)
    found = {
        "top1": losses.predictive_top1(predicted, *plan.among(features)),
        "copy_last": losses.predictive_top1(unit[:, list(plan.context)], *plan.among(unit)),
    }
    steps = jnp.asarray(plan.step)
    return {
        f"future/{name}_{step}": jnp.mean(each, where=steps == step)
        for name, each in found.items()
        for step in sorted(set(plan.step))
    }
