"""The notebooks, run from top to bottom at small size; what they show, and what is committed of it."""

import json
import pathlib
import re

import nbformat
import pytest

from notebooks import run
from tests.commands import environment

NOTEBOOKS = sorted((pathlib.Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
LARGEST = 300_000  # bytes


@pytest.fixture(autouse=True)
def jupyter_stays_in_the_tests_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


def executed(name, tmp_path, *values):
    """Runs a notebook; gives all that it shows as text, its pictures, and the values of some expressions."""
    (path,) = [path for path in NOTEBOOKS if path.name.startswith(name)]
    notebook = nbformat.read(path, as_version=4)
    ask = f"import json\nprint(json.dumps([{', '.join(values)}]))"
    notebook.cells.append(nbformat.v4.new_code_cell(ask))
    small = environment(JSSL_SMALL="1")
    folder = tmp_path / "here"
    folder.mkdir()
    run.executed(notebook, folder, small)
    text, pictures = shown(notebook)
    return text, pictures, json.loads(text.splitlines()[-1])


def shown(notebook):
    """All text that the outputs hold, and how many pictures."""
    text, pictures = "", 0
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        data = output.get("data", {})
        text += output.get("text", "") + data.get("text/markdown", "") + "\n"
        pictures += "image/png" in data
    return text.rstrip(), pictures


def test_quickstart(tmp_path):
    text, pictures, (knn, untrained, shape) = executed(
        "01", tmp_path, 'result["knn/top1"]', 'result["untrained/knn/top1"]', "features.shape"
    )
    assert min(knn, untrained) > 0.8
    assert shape == [5, 32]
    assert re.search(r"raw pixels +9\d\.\d", text)
    assert "No GPU or TPU here" in text
    assert pictures == 3


def test_your_own_images(tmp_path):
    text, pictures, (count, agreement) = executed("02", tmp_path, "len(source)", "agreement")
    exported = tmp_path / "here" / "features.npz"
    assert exported.exists()
    assert count == len(list((tmp_path / "here" / "photos").iterdir())) == 128
    assert min(agreement.values()) > 0.2  # by chance .1
    assert "no labels: no accuracy to report" in text
    assert pictures == 3


def test_methods_side_by_side(tmp_path):
    text, pictures, (knn,) = executed("03", tmp_path, '[run["knn/top1"] for run in runs.values()]')
    assert len(knn) == 2
    assert min(knn) > 0.7
    for row in ("raw pixels", "untrained encoder", "SimCLR", "DINO"):
        assert re.search(rf"^\| {row} \| \d\d\.\d \|", text, re.MULTILINE), row
    assert pictures == 2


def test_inside_the_representation(tmp_path):
    text, pictures, values = executed(
        "04",
        tmp_path,
        "autoencoder_angle",
        "encoder_angle",
        "pca_angle",
        '[run["collapsed"] for run in collapse.values()]',
        '[run["health/embedding/uniformity"] for run in temperatures.values()]',
    )
    autoencoder, encoder, pca, collapsed, uniformity = values
    assert autoencoder < 1
    assert encoder < 5 < 60 < pca
    assert collapsed == [False, True]
    assert uniformity[0] < uniformity[-1] < 0  # a lower temperature spreads more
    assert "the embeddings have collapsed" in text
    assert "T = 0.05" in text
    assert pictures == 5


def test_semi_supervised(tmp_path):
    text, pictures, (moons, baseline) = executed(
        "05",
        tmp_path,
        "right",
        '[run.values.get("supervised_baseline/classifier/top1") for run in runs.values()]',
    )
    assert set(moons) == {"supervised", "pseudo-label", "entropy minimisation", "VAT"}
    assert max(moons["VAT"]) > max(moons["supervised"])
    assert baseline[0] is None
    assert len(set(baseline[1:])) == 1
    for row in ("supervised baseline", "FixMatch", "S4L-Rotation"):
        assert re.search(rf"^\| {row} \| \d+\.\d \|", text, re.MULTILINE), row
    assert "No GPU or TPU here" in text
    assert pictures == 2


def test_pretext_and_generative(tmp_path):
    text, _, (knn,) = executed(
        "06", tmp_path, '[run["knn/top1"] for runs in (puzzles, gaps, colours) for run in runs.values()]'
    )
    assert len(knn) == 3
    assert min(knn) > 0.5
    for row in ("Jigsaw", "Inpainting", "Colorization", "3"):
        assert re.search(rf"^\| {row} \| \d+", text, re.MULTILINE), row


def test_beyond_images(tmp_path):
    text, pictures, (accuracy, chance, shape) = executed(
        "07", tmp_path, 'heard["correspondence/accuracy"]', 'clip["zero_shot/chance"]', "table.shape"
    )
    assert 0.4 < accuracy <= 1
    assert chance == pytest.approx(1 / 30)
    assert shape == [6, 8]
    assert re.search(r"zero-shot: \d+\.\d% of the test images", text)
    assert pictures == 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_was_run_from_top_to_bottom_and_is_small(path):
    assert path.stat().st_size < LARGEST
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    text, pictures = shown(notebook)
    assert pictures >= 2
    assert not re.search(r"Traceback|/(tmp|home|root|usr|work)/", text)


def test_all_begin_alike():
    first = {nbformat.read(path, as_version=4).cells[1].source for path in NOTEBOOKS}
    assert len(first) == 1
    assert len(NOTEBOOKS) == 7
