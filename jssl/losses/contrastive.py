"""Contrastive losses: positives against the rest of the batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jssl.losses.checks import check_pair, check_positive
from jssl.losses.similarity import DENSE, PRECISION, Dense, Similarity, similarities
from jssl.types import Array


def normalize(z: Array) -> Array:
    """Rows divided by their Euclidean norm, in float32; a zero row stays zero and gets no gradient.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> [round(x, 3) for x in losses.normalize(jnp.array([[3.0, 4.0], [0.0, 0.0]])).ravel().tolist()]
      [0.6, 0.8, 0.0, 0.0]
    """
    z = z.astype(jnp.float32)
    square = jnp.sum(jnp.square(z), axis=-1, keepdims=True)
    return z * jnp.where(square > 1e-24, jax.lax.rsqrt(jnp.maximum(square, 1e-24)), 0.0)


def nt_xent(z1: Array, z2: Array, temperature: float = 0.1, similarity: Similarity = DENSE) -> Array:
    """Normalised temperature-scaled cross entropy of SimCLR.

    Each of the 2N embeddings has its other view as the positive and all 2N - 1 others in the denominator.
    Gradients flow through both sides of every similarity, in reverse mode (there is no `jax.jvp`). Computed in float32
    whatever the input.

    Args:
      z1, z2: embeddings of the two views, float[N, D]; need not be normalised.
      temperature: positive; may be an array that is learnt.
      similarity: how the 2N x 2N similarities are computed; the value and the gradient are the same.

    Returns:
      Mean over the 2N anchors, float[], at least 0.

    Raises:
      ValueError: if the shapes differ or are not rank 2, or temperature is not positive.

    References:
      Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020, eq. 1.
      https://arxiv.org/abs/2002.05709

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> z = jnp.eye(2)  # two images, orthogonal; the views of each agree
      >>> round(float(losses.nt_xent(z, z, temperature=1.0)), 3)  # log(e + 1 + 1) - 1
      0.551
    """
    check_pair("nt_xent", z1, z2)
    check_positive(temperature=temperature)
    scale = 1 / jnp.sqrt(
        temperature
    )  # of both sides, so that the temperature is divided by and may be learnt
    z1, z2 = scale * normalize(z1), scale * normalize(z2)
    # The views of an image side by side: where rows are split over devices, none has to move.
    z = jnp.stack([z1, z2], axis=1).reshape(-1, z1.shape[1])
    positives = jnp.sum(z1 * z2, axis=-1)
    if isinstance(similarity, Dense):
        return jnp.mean(_log_sum_exp_of_others(z)) - jnp.mean(positives)
    return jnp.mean(similarity.log_sum_exp(z, z, exclude_self=True)) - jnp.mean(positives)


@jax.custom_vjp
def _log_sum_exp_of_others(z: Array) -> Array:
    """log sum_{j != i} exp <z_i, z_j> for every row i of float[M, D]."""
    return _forward(z)[0]


def _forward(z: Array) -> tuple[Array, tuple[Array, Array]]:
    lse = jax.nn.logsumexp(similarities(z, z, True), axis=-1)
    return lse, (z, lse)


def _backward(residuals: tuple[Array, Array], g: Array) -> tuple[Array]:
    # The similarities are symmetric, so that dz_i = sum_j (g_i P_ij + g_j P_ji) z_j with
    # P_ij = exp(S_ij - lse_i): one matrix product where automatic differentiation needs two.
    z, lse = residuals
    s = similarities(z, z, True)
    weights = g[:, None] * jnp.exp(s - lse[:, None]) + g * jnp.exp(s - lse)
    return (jnp.matmul(weights, z, precision=PRECISION),)


_log_sum_exp_of_others.defvjp(_forward, _backward)


def decoupled_contrastive(
    z1: Array, z2: Array, temperature: float = 0.1, similarity: Similarity = DENSE
) -> Array:
    """Decoupled contrastive loss: NT-Xent whose denominator leaves the positive out.

    Args:
      z1, z2: embeddings of the two views, float[N, D]; need not be normalised.
      temperature: positive.
      similarity: how the N x N similarities are computed; the value and the gradient are the same.

    Returns:
      Mean over the 2N anchors, float[]; it has no lower bound of 0.

    Raises:
      ValueError: if the shapes differ or are not rank 2, or temperature is not positive.

    References:
      Yeh et al., Decoupled Contrastive Learning, 2022, eq. 6. https://arxiv.org/abs/2110.06848

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> z = jnp.eye(2)  # two images, orthogonal; the views of each agree
      >>> round(float(losses.decoupled_contrastive(z, z, temperature=1.0)), 3)  # log(1 + 1) - 1
      -0.307
    """
    check_pair("decoupled_contrastive", z1, z2)
    check_positive(temperature=temperature)
    scale = 1 / jnp.sqrt(temperature)
    z1, z2 = scale * normalize(z1), scale * normalize(z2)

    def repulsion(a: Array, b: Array) -> Array:
        """Log-sum-exp over both views of all other images."""
        within, across = (similarity.log_sum_exp(a, other, exclude_self=True) for other in (a, b))
        return jnp.mean(jnp.logaddexp(within, across))

    return (repulsion(z1, z2) + repulsion(z2, z1)) / 2 - jnp.mean(jnp.sum(z1 * z2, axis=-1))


def info_nce(
    query: Array, key: Array, queue: Array | None, temperature: float = 0.07, similarity: Similarity = DENSE
) -> Array:
    """Cross entropy of picking a query's own key among others (InfoNCE).

    Args:
      query: float[N, D]; need not be normalised.
      key: the positives, float[N, D]; need not be normalised.
      queue: the negatives of all queries, float[K, D], as MoCo keeps them; None takes the other N - 1 keys of
        the batch instead. They are l2-normalised too.
      temperature: positive.
      similarity: how queries are compared with the other keys, or with the queue.

    Returns:
      Mean over the batch, float[], at least 0. The gradient flows to all three: what must not get one is
      stopped by the caller, or is not a function of the parameters.

    Raises:
      ValueError: if shapes do not fit, or temperature is not positive.

    References:
      He et al., Momentum Contrast, 2020, eq. 1. https://arxiv.org/abs/1911.05722

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> query, queue = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])
      >>> round(float(losses.info_nce(query, query, queue, temperature=1.0)), 3)  # log(e + 1) - 1
      0.313
    """
    check_pair("info_nce", query, key)
    check_positive(temperature=temperature)
    q, k = normalize(query) / temperature, normalize(key)
    positive = jnp.sum(q * k, axis=-1)
    if queue is None:
        return jnp.mean(similarity.log_sum_exp(q, k) - positive)
    if queue.ndim != 2 or queue.shape[1] != query.shape[1]:
        raise ValueError(f"info_nce takes a queue float[K, {query.shape[1]}], not {queue.shape}")
    negatives = similarity.log_sum_exp(q, normalize(queue))
    return jnp.mean(jnp.logaddexp(negatives, positive) - positive)


def instance_discrimination(
    z: Array, bank: Array, index: Array, temperature: float = 0.07, num_examples: int | None = None
) -> Array:
    """Cross entropy of picking an image's own row in the memory bank, over all rows.

    Args:
      z: embeddings, float[N, D]; need not be normalised.
      bank: a row for every image of the data set, float[M, D]; they are l2-normalised too.
      index: int[N] in [0, M), whose row is whose.
      temperature: positive.
      num_examples: rows of the bank that count; those after them are padding. None: all.

    Returns:
      Mean over the batch, float[], at least 0.

    Raises:
      ValueError: if shapes do not fit, or temperature is not positive.

    References:
      Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, 2018, eq. 2 and 3.
      https://arxiv.org/abs/1805.01978

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> bank = jnp.eye(2)  # a row for each of two images
      >>> loss = losses.instance_discrimination(bank[:1], bank, jnp.array([0]), temperature=1.0)
      >>> round(float(loss), 3)  # log(e + 1) - 1
      0.313
    """
    if z.ndim != 2 or bank.ndim != 2 or z.shape[1] != bank.shape[1] or index.shape != z.shape[:1]:
        raise ValueError(
            f"instance_discrimination takes z float[N, D], bank float[M, D] and index int[N], "
            f"not {z.shape}, {bank.shape} and {index.shape}"
        )
    check_positive(temperature=temperature)
    logits = jnp.matmul(normalize(z), normalize(bank).T, precision=PRECISION) / temperature
    if num_examples is not None:
        logits = jnp.where(jnp.arange(len(bank)) < num_examples, logits, -jnp.inf)
    own = jnp.take_along_axis(logits, index[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - own)


def contrastive_accuracy(z1: Array, z2: Array, similarity: Similarity = DENSE) -> tuple[Array, Array, Array]:
    """Contrastive accuracy: how often view 2 of an image is nearer to its view 1 than those of the other N - 1 images.

    Args:
      z1, z2: embeddings, float[N, D]; need not be normalised.
      similarity: how they are compared, as in nt_xent.

    Returns:
      (accuracy in [0, 1], mean cosine of the positive pairs, mean cosine of the negative pairs), each float[]
      without gradient.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> accuracy, positive, negative = losses.contrastive_accuracy(jnp.eye(2), jnp.eye(2))
      >>> float(accuracy), float(positive), float(negative)
      (1.0, 1.0, 0.0)
    """
    a, b = (jax.lax.stop_gradient(normalize(z)) for z in (z1, z2))
    n, own = len(a), jnp.sum(a * b, axis=-1)
    positive = jnp.mean(own)
    total = jnp.sum(jnp.sum(a, axis=0) * jnp.sum(b, axis=0))
    nearest = jnp.mean(own >= similarity.largest_other(a, b))
    return nearest, positive, (total - n * positive) / max(1, n * (n - 1))
