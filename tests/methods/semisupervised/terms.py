"""S4L and batches for it, on tiny shapes."""

import jax
import jax.numpy as jnp
import numpy as np

from jssl.configs import semi
from jssl.methods import METHODS, Context, RunInfo, ViewTask, make_method
from tests.conftest import SMALL_SIZES
from tests.methods.reference import start
from tests.methods.test_contract import ENCODER

LABELED, UNLABELED, CLASSES, EXAMPLES = 8, 16, 3, 40
KEY = jax.random.key(0)
CONTEXT = Context(jax.random.key(1), jnp.asarray(5, jnp.int32), jnp.asarray(0.5), steps_per_epoch=10.0)
VIEWS = {
    "unlabeled": {"weak": 2, "strong": 1, "first": 1, "second": 1},
    "labeled": {"weak": 2},
}
TASKS = tuple(name for name, method in METHODS.items() if issubclass(method, ViewTask))
# A threshold that some pseudo-labels of a fresh network pass and others do not.
THRESHOLD = {name: {"threshold": 0.5} for name in ("fixmatch", "flexmatch", "pseudo_label", "uda")}
OTHERS = {name: {"views": ("first", "second")} for name in ("simclr", "byol", "moco")}
OPTIONS = {
    **{name: {} for name in TASKS},
    **THRESHOLD,
    **OTHERS,
    "exemplar": {"proj_dim": 8},
    "jigsaw": {"grid": 2, "tile": 3, "jitter": 0, "permutations": 5},
    "context": {"tile": 2, "jitter": 0},
    "freematch": {"fairness": 1.0},
}
GROUPS = {
    "pseudo_labels": ("pseudo_label", "fixmatch", "flexmatch", "freematch", "softmatch", "uda"),
    "consistency": ("vat", "entropy_minimization", "pi_model", "mean_teacher"),
    "pretext": ("rotation", "exemplar", "jigsaw", "context"),
    "mixmatch": ("mixmatch",),
    "methods": ("simclr", "byol", "moco"),
    "none": (),
}
VARIANTS = {
    group: {"terms": {name: semi.term(name, **OPTIONS[name]) for name in names}}
    for group, names in GROUPS.items()
}
VARIANTS["pretext"]["average"] = 0.9
RANDOM = ("consistency", "mixmatch")  # which draw a change for every row


def section(variant, **changes):
    config = {"name": "s4l", "average": 0.0, **VARIANTS[variant], **changes}
    for term in config["terms"].values():
        term.update({key: value for key, value in SMALL_SIZES.items() if term.get(key)})
    return config


def made(variant, **changes):
    known = RunInfo(ENCODER, num_examples=EXAMPLES, classes=CLASSES)
    return make_method(section(variant, **changes), known)


def batch(seed=0, labeled=LABELED, unlabeled=UNLABELED):
    rng = np.random.default_rng(seed)

    def stream(name, rows):
        views = {
            view: tuple(jnp.asarray(rng.uniform(size=(rows, 8, 8, 3)), jnp.float32) for _ in range(copies))
            for view, copies in VIEWS[name].items()
        }
        index = jnp.asarray(rng.permutation(EXAMPLES)[:rows], jnp.int32)
        return {"views": views, "index": index, "label": index % CLASSES}

    return {"unlabeled": stream("unlabeled", unlabeled), "labeled": stream("labeled", labeled)}


def begun(method):
    """Fresh parameters and state, but a classifier that is sure of some rows."""
    params, state = start(method, batch())
    return {**params, "classifier": jax.tree.map(lambda x: 40 * x, params["classifier"])}, state
