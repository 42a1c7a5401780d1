"""Count floating-point operations from the geometry; a multiply-add counts as two."""

import torch

from benchmarks.kinds import ModelKind
from examples.random_checkpoint import Geometry

_PRODUCT_FRAMES = 16


def tower(kind: ModelKind, geometry: Geometry, frames: int, projected: int) -> int:
    """Count tower and projector; ``projected`` tokens pass the second linear."""
    g = geometry
    width, patches = g.tower_hidden, g.grid**2
    tokens = patches + kind.tokens
    embedding = 2 * patches * 3 * g.patch_size**2 * width
    layer = 2 * tokens * (4 * width**2 + 2 * width * g.tower_mlp) + 4 * tokens**2 * width
    first_half = 2 * patches * width * g.text_hidden
    frame = embedding + (g.tower_layers - kind.unused) * layer + first_half
    return frames * frame + projected * 2 * g.text_hidden**2


def product(geometry: Geometry) -> int:
    """Count one `mlp_product`."""
    rows, inner, columns = _shape(geometry)
    return 2 * rows * inner * columns


def mlp_product(geometry: Geometry, device: torch.device, dtype: torch.dtype):
    """Make a function that only multiplies matrices: the machine's peak."""
    rows, inner, columns = _shape(geometry)
    left = torch.randn(rows, inner, device=device, dtype=dtype)
    right = torch.randn(inner, columns, device=device, dtype=dtype)
    return lambda: torch.mm(left, right)


def _shape(geometry: Geometry) -> tuple[int, int, int]:
    return _PRODUCT_FRAMES * (geometry.grid**2 + 1), geometry.tower_hidden, geometry.tower_mlp
