"""One process of 8 CPU devices for the whole suite: a mesh over one of them is 'one device', over all 'eight'."""

import gc
import os
import tempfile

# Of the whole session: pytest's workers and the tests' children inherit it.
if "JSSL_TESTS" not in os.environ:
    _folder = tempfile.TemporaryDirectory(prefix="jssl_tests_")
    os.environ["JSSL_TESTS"] = _folder.name

from tests.commands import DIGITS, QUICK, leave_garbage

os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {QUICK}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = (
    "0"  # where each operation stands in the source: a fifth of the time
)
# The same programs come again and again.
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(os.environ["JSSL_TESTS"], "compiled")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"  # storing takes .02
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import numpy as np
import pytest
from PIL import Image

from jssl import config as schema
from jssl import methods, parallel
from jssl.configs import recipes, simclr
from jssl.data import sources
from jssl.models import Network

# Tests draw parameters outside of any jit: one program a network, instead of one for every operation.
Network.init = jax.jit(Network.init, static_argnums=0)


@pytest.fixture(scope="session")
def mesh1():
    return parallel.make_mesh(jax.devices()[:1])


@pytest.fixture(scope="session")
def mesh8():
    return parallel.make_mesh(jax.devices())


def is_run_by(name):
    """Whether a config of the method's name runs it, and not a sum of terms."""
    names = [path.stem for path in schema.configs_folder().glob("*.py")]
    return name in names and schema.get_config(name).method.name == name


METHODS = {
    name: method
    for name, method in methods.METHODS.items()
    if not issubclass(method, methods.SemiSupervised) and is_run_by(name)
}  # terms alone have tests of their own
SMALL_SIZES = {"proj_hidden_dim": 16, "proj_dim": 8, "pred_hidden_dim": 8, "prototypes": 12, "queue_size": 64,
               "negatives": 24, "clusters": 12, "super_clusters": 2, "pca_dim": 8, "iterations": 3,
               "decoder_dim": 8, "decoder_layers": 1, "decoder_heads": 2, "code_dim": 6,
               "discriminator_dim": 4, "mask_unit": 1}  # fmt: skip


def tiny(config):
    """A shipped digits config, shrunk: a few steps of a narrow network, few evaluations."""
    recipes.shrink(config)
    config.total_epochs, config.total_steps = 0.0, 6
    config.encoder.convnet.update({"width": 4, "strides": (2,)})
    config.method.update({key: value for key, value in SMALL_SIZES.items() if config.method.get(key)})
    config.data.unlabeled.batch_size = 16
    config.optim.warmup_percent, config.optim.warmup_steps = 0.0, 2
    config.evals.update({"every_percent": 0.0, "per_class": (), "linear": {"l2": (1e-2,)}})
    config.evals.health.enabled = config.evals.baselines = False
    config.evals.knn.k = 20  # 0, which looks for the best, searches all of train
    config.checkpoint.update({"every_percent": 0.0, "every_steps": 2})
    config.log.update({"every_steps": 2, "pictures": False, "progress": False})
    return config


def tiny_config(**changes):
    """SimCLR's, with changes."""
    config = tiny(simclr.get_config("digits"))
    for key, value in changes.items():
        set_key(config, key, value)
    return config


def set_key(config, key, value):
    """Sets 'a__b__c'."""
    *parents, last = key.split("__")
    for parent in parents:
        config = config[parent]
    config[last] = value


@pytest.fixture
def photos(tmp_path):
    """A folder of 24 JPEGs of mixed sizes, no labels, one of them grey and one turned by EXIF."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(24):
        size = (int(rng.integers(20, 60)), int(rng.integers(20, 60)), 3)
        pixels = rng.integers(0, 256, size, dtype=np.uint8)
        image = Image.fromarray(pixels[..., 0] if number == 3 else pixels)
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 4 else 1
        image.save(folder / f"img{number:02}.jpg", exif=exif)
    return folder


def write_digits():
    """Writes what children read."""
    train, test = (sources.load("digits", split) for split in ("train", "test"))
    arrays = {"images": train.images, "labels": train.labels()}
    np.savez(DIGITS, **arrays, test_images=test.images, test_labels=test.labels())


def pytest_configure(config):
    """Before there are workers."""
    if not hasattr(config, "workerinput"):
        write_digits()


SLOW = ("test_kill", "test_processes", "test_notebooks", "test_configs", "test_stages", "test_run")


def pytest_collection_modifyitems(items):
    """The longest modules begin first, so that no worker waits for them at the end."""
    items.sort(key=lambda item: item.path.stem not in SLOW)


def pytest_collection_finish():
    gc.collect()
    leave_garbage()
