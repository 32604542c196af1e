"""Pictures never end a run."""

import logging

import numpy as np
from etils import epath

import jssl
from jssl.report import pictures
from tests.conftest import tiny_config


def test_names_that_are_formulas_elsewhere_are_text(tmp_path):
    names = (r"$\frac{", "a_b^c", "$5 and $6", "<b>")
    x, labels = np.random.default_rng(0).normal(size=(8, 4)), np.arange(8) % 4
    path = epath.Path(tmp_path / "features.png")
    pictures.feature_map(path, x.astype(np.float32), labels, names)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch, caplog):
    def full(path, content):
        if path.suffix == ".png":
            raise OSError(28, "No space left on device")
        return write_whole(path, content)

    write_whole = pictures.storage.write_whole
    monkeypatch.setattr(pictures.storage, "write_whole", full)
    config = tiny_config(log__pictures=True)
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert jssl.run(config, tmp_path / "run")["step"] == 6
    said = [r.getMessage() for r in caplog.records if "was not drawn: OSError" in r.getMessage()]
    assert {text.split()[0] for text in said} == {"views.png", "curves.png", "features.png", "neighbours.png"}
    assert (tmp_path / "run" / "result.json").exists()
