"""Runs notebooks from top to bottom and saves them with what they show.

python notebooks/run.py                              all of them; about 15 minutes on two CPU cores
python notebooks/run.py notebooks/01_quickstart.ipynb

JSSL_SMALL=1 takes a few steps only. The runs go to a temporary folder.
"""

from __future__ import annotations

import base64
import io
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping

import nbclient
import nbformat
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
SECONDS = 1800  # that a cell may take


def executed(
    notebook: nbformat.NotebookNode, folder: str | pathlib.Path, environment: Mapping[str, str] = os.environ
) -> nbformat.NotebookNode:
    """Runs all cells of a notebook in a folder, with this checkout on the path.

    Raises:
      nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    client = nbclient.NotebookClient(
        notebook, timeout=SECONDS, record_timing=False, resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env={**environment, "PYTHONPATH": str(HERE.parent)})
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = fewer_colours(output.data["image/png"])
    return notebook


def fewer_colours(png: str) -> str:
    """A PNG in base64, at about a third of its size."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(out, "png", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def main() -> None:
    for path in [pathlib.Path(name) for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb")):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(nbformat.read(path, as_version=4), folder)
        path.write_text(nbformat.writes(notebook) + "\n")
        print(
            f"{path.name}: {time.perf_counter() - start:.0f} s, {path.stat().st_size / 1e3:.0f} kB",
            flush=True,
        )


if __name__ == "__main__":
    main()
