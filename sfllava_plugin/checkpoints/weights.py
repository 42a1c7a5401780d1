"""The weights of a checkpoint: its safetensors files, and the shapes in them. No tensor is loaded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError, safe_open

from sfllava_plugin.checkpoints.prepared import CheckpointError


class TensorSlice(Protocol):
    """A tensor in a safetensors file, not loaded."""

    def get_shape(self) -> list[int]: ...

    def get_dtype(self) -> str: ...


def weight_files(folder: Path) -> list[Path]:
    """List the checkpoint's safetensors files and their index, sorted.

    Raises:
        CheckpointError: there are none; other formats can run code when they are read and are not opened.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder}: no *.safetensors in it; convert the weights to safetensors first")
    return files + sorted(folder.glob("*.safetensors.index.json"))


def link(folder: Path, out: Path) -> None:
    """Link the weights and their index into ``out``."""
    for path in weight_files(folder):
        (out / path.name).symlink_to(path.absolute())


def tensors(folder: Path) -> Iterator[tuple[str, TensorSlice]]:
    """Yield the name and the slice of every tensor.

    Raises:
        CheckpointError: a file is damaged.
    """
    for path in weight_files(folder):
        if path.suffix != ".safetensors":
            continue
        try:
            with safe_open(path, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118 - not a mapping
                    yield name, weights.get_slice(name)
        except SafetensorError as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(f"{path}: is damaged ({reason}); fetch it again") from error
