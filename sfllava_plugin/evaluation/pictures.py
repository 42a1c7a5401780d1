"""Keep a task's pictures as files until they are asked about.

Tasks give decoded pictures, and those of a whole benchmark do not fit into memory. Files also reach the other processes
of an evaluation.
"""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from sfllava_plugin.checkpoints.prepare import cache_folder


class PictureFiles:
    """Pictures in a temporary folder, each named by its content's hash."""

    def __init__(self) -> None:
        self._folder: TemporaryDirectory[str] | None = None

    def add(self, picture: Image.Image) -> str:
        """Write a picture, in RGB, and return its path.

        Raises:
            OSError: it cannot be written.
        """
        if self._folder is None:
            parent = cache_folder().parent / "evaluation"
            parent.mkdir(parents=True, exist_ok=True)
            self._folder = TemporaryDirectory(prefix="pictures-", dir=parent)
        picture = picture.convert("RGB")
        name = hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()
        path = Path(self._folder.name, f"{name}.png")
        if not path.exists():
            picture.save(path, compress_level=1)
        return str(path)

    def close(self) -> None:
        """Delete the files."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def identity(paths: tuple[str, ...]) -> str:
    """Identify pictures by their content, whatever the folder."""
    return " ".join(Path(path).name for path in paths)
