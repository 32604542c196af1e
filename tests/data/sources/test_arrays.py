import numpy as np
import pytest

from jssl.data import sources
from jssl.data.sources import ArraySource, BadImage


def test_arrays(tmp_path):
    images = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    np.savez(tmp_path / "a.npz", images=images, labels=[1, 0], test_images=images[:1], test_labels=[1])
    train = sources.load(str(tmp_path / "a.npz"), "train")
    assert train.image_shape == (3, 3, 1)
    np.testing.assert_array_equal(train.labels(), [1, 0])
    assert len(sources.load(str(tmp_path / "a.npz"), "test")) == 1
    np.save(tmp_path / "b.npy", images)
    assert sources.load(str(tmp_path / "b.npy"), "train").labels() is None


def test_in_memory_keeps_count_of_the_unreadable(tmp_path):
    good = ArraySource("x", np.ones((3, 2, 2, 3), np.uint8), np.arange(3))

    class Broken(sources.Subset):
        def handles(self, indices):
            return [b"no image" if i == 1 else good.images[i] for i in indices]

        def gather(self, indices):
            return None

    memory = sources.in_memory(Broken(good, np.arange(3)))
    assert list(memory.bad) == [1]
    with pytest.raises(BadImage, match=r"x\[1\]"):
        memory.open(1)
    assert list(memory.take([2, 1]).bad) == [1]
    assert not memory.take([2, 0]).bad
