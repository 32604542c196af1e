"""python -m jssl.convert FILE.pth OUT.safetensors: tensors of PyTorch, read without running anything of the file's."""

from __future__ import annotations

import pathlib

from jssl import cli
from jssl.errors import UserError


def main(argv: list[str]) -> None:
    """Writes all tensors under their names, and says what encoder they are of."""
    from jssl.models import weights

    if len(argv) != 3:
        raise UserError("give two files: python -m jssl.convert FILE.pth OUT.safetensors")
    source, out = argv[1:]
    if pathlib.Path(out).suffix not in (".safetensors", ".npz"):
        raise UserError(f"{out} must end in .safetensors or .npz")
    if pathlib.Path(out).exists():
        raise UserError(f"{out} is there already: choose another name")
    tensors = weights.read(source)
    words = weights.described(tensors)
    if not pathlib.Path(out).parent.is_dir():
        raise UserError(f"{out}: there is no folder {pathlib.Path(out).parent}")
    weights.write(out, tensors)
    print(f"{len(tensors)} tensors in {out}; {words}")


if __name__ == "__main__":
    cli.run(main, positional=2)
