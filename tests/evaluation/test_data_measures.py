"""Near-duplicates, out-of-distribution images and retrieval, in one tiny run."""

import numpy as np
import pytest

import jssl
from jssl.errors import UserError
from jssl.evaluation.duplicates import most_alike
from jssl.evaluation.ood import OOD, nearness
from tests.conftest import tiny_config


@pytest.fixture(scope="module")
def data():
    """Dark squares and stripes; three test images are those of train, one of them a little brighter."""
    rng, labels = np.random.default_rng(0), np.arange(60) % 2
    images = rng.integers(0, 90, (60, 8, 8, 1), dtype=np.uint8)
    images[labels == 1, ::2] += 120
    images[42:44], images[44] = images[3:5], images[6] + 10
    labels[42:45] = labels[[3, 4, 6]]
    return {"train": (images[:40], labels[:40]), "test": (images[40:], labels[40:])}


def configured(**ood):
    config = tiny_config(evals__baselines=True, evals__knn__enabled=False, evals__linear__enabled=False)
    config.data.holdout, config.log.pictures = 0.0, True
    config.evals.image_retrieval.enabled = config.evals.duplicates.enabled = config.evals.ood.enabled = True
    config.evals.ood.update({"images": 20, "k": 3, **ood})
    return config


def test_all_three_in_a_run(data, tmp_path):
    np.savez(tmp_path / "white.npz", images=np.full((30, 8, 8, 1), 255, np.uint8))
    result = jssl.run(configured(data=str(tmp_path / "white.npz")), tmp_path / "run", data=data)
    assert result["duplicates/fraction"] == pytest.approx(3 / 20)
    assert (tmp_path / "run" / "duplicates_pairs.png").exists()
    assert "untrained/duplicates/fraction" not in result.values
    assert 0 < result["image_retrieval/map"] <= 1
    assert result["pixels/image_retrieval/r1"] > result["image_retrieval/chance_r1"]
    assert 0 <= result["untrained/ood/knn/auroc"] <= 1


def test_the_other_data_must_be_there_and_of_the_same_kind(data, tmp_path):
    np.savez(tmp_path / "five.npz", images=np.zeros((8, 8, 8, 5), np.uint8))
    for name, message in (("/nowhere", "there is no folder"), (str(tmp_path / "five.npz"), "5 channels")):
        with pytest.raises(UserError, match=rf"^evals\.ood\.data='.*': .*{message}"):
            jssl.run(configured(data=name), tmp_path / "run", data=data)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=r"^evals\.ood\.data='' must name other data"):
        OOD.from_config({"enabled": True})


def test_nearness_and_likeness_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    x, bank = rng.normal(size=(7, 4)), rng.normal(size=(9, 4))
    cosines = np.corrcoef(np.concatenate([x, bank]))[:7, 7:]
    best, where = most_alike(x, bank)
    np.testing.assert_allclose(best, cosines.max(axis=1))
    np.testing.assert_array_equal(where, cosines.argmax(axis=1))
    units = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (x, bank)]
    expected = np.sort(units[0] @ units[1].T, axis=1)[:, -3:].mean(axis=1)
    np.testing.assert_allclose(nearness(x, bank, 3), expected)
    np.testing.assert_allclose(nearness(x, bank, 99), (units[0] @ units[1].T).mean(axis=1))
