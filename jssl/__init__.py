"""Self-supervised and semi-supervised representation learning in JAX.

import jssl
result = jssl.run(config, "runs/mine")     # trains, or resumes, or returns the finished result
encoder = jssl.load("runs/mine")
features = encoder(images_uint8)           # float32[B, D]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ml_collections
    from etils import epath

    from jssl.report.result import Result
    from jssl.runs.encoder import Encoder

__all__ = ["load", "run"]
__version__ = "0.4.0"


def run(config: ml_collections.ConfigDict, workdir: str | epath.Path) -> Result:
    """Trains a config in a folder to its end; resumes or returns what is there already.

    Raises:
      UserError: a ValueError whose text says what to put right.
    """
    from jssl.runs import stages

    return stages.run(config, workdir)


def load(workdir: str | epath.Path, step: int | None = None) -> Encoder:
    """The encoder of a run, of its newest checkpoint or of a step: `encoder(images_uint8) -> features`."""
    from jssl.runs import encoder

    return encoder.load(workdir, step)
