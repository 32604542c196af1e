"""SimCLR in 40 lines: the whole loop, without the config system. 1,797 real digits, a minute on a laptop.

python examples/simclr_from_scratch.py [STEPS]
"""

import sys

import jax
import numpy as np
import optax

from jssl import evaluation, losses, models
from jssl.data import sources
from jssl.data.augment import ViewSpec, views

train, test = (sources.load("digits", split) for split in ("train", "test"))
images, tested = (source.gather(range(len(source)))["image"] for source in (train, test))  # uint8[N, 8, 8, 1]

# Networks are pure functions of explicit parameters and batch statistics.
encoder = models.encoder({"name": "convnet", "convnet": {"strides": (1, 2, 1, 2)}})
projector = models.mlp((256, 128), last_batch_norm=True)
encoder_params, encoder_stats = encoder.init(jax.random.key(0), images[:2] / 255)
h, _ = encoder.apply(encoder_params, encoder_stats, images[:2] / 255, train=False)
projector_params, projector_stats = projector.init(jax.random.key(1), h)
params, stats = (encoder_params, projector_params), (encoder_stats, projector_stats)
optimizer = optax.adamw(1e-3)
opt_state = optimizer.init(params)
augmentation = {"view": ViewSpec(8, copies=2, degrees=15, translate=0.15, brightness=0.4, contrast=0.4)}


def loss(params, stats, images, key):
    z = []
    for view in views(key, images, augmentation)["view"]:  # each has batch statistics of its own
        h, encoder_stats = encoder.apply(params[0], stats[0], view, train=True)
        out, projector_stats = projector.apply(params[1], stats[1], h, train=True)
        z, stats = [*z, out], (encoder_stats, projector_stats)
    return losses.nt_xent(*z, temperature=0.1), stats


@jax.jit
def update(params, stats, opt_state, images, key):
    (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(params, stats, images, key)
    change, opt_state = optimizer.update(gradient, opt_state, params)
    return optax.apply_updates(params, change), stats, opt_state, value


rng = np.random.default_rng(0)
for step in range(int(sys.argv[1]) if len(sys.argv) > 1 else 500):
    batch = images[rng.choice(len(images), 256, replace=False)]
    params, stats, opt_state, value = update(params, stats, opt_state, batch, jax.random.key(step))
    if step % 100 == 0:
        print(f"step {step}  loss {value:.3f}", flush=True)

features = [np.asarray(encoder.apply(params[0], stats[0], x / 255, train=False)[0]) for x in (images, tested)]
pixels = [x.reshape(len(x), -1).astype(np.float32) for x in (images, tested)]
for name, (known, asked) in {"raw pixels": pixels, "SimCLR": features}.items():
    found = evaluation.knn(known, train.labels(), asked, test.labels(), k=20)
    print(f"{name}: kNN top-1 {100 * found['top1']:.1f} %")
