"""Sizes of the small checkpoints.

Narrow and shallow, with the real grids and head sizes.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tower:
    """A vision tower. SigLIP's heads have 72 channels, CLIP's 64."""

    kind: str
    image_size: int
    patch: int = 14
    heads: int = 2
    layers: int = 3

    @property
    def head(self) -> int:
        return {"siglip": 72, "clip": 64}[self.kind]

    @property
    def width(self) -> int:
        return self.heads * self.head

    @property
    def mlp(self) -> int:
        """SigLIP's is no multiple of 64: 4304 at width 1152."""
        return {"siglip": 269 * self.heads, "clip": 4 * self.width}[self.kind]

    @property
    def grid(self) -> int:
        return self.image_size // self.patch


@dataclass(frozen=True)
class Text:
    """A language model."""

    hidden: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    mlp: int = 256


TOWER_OF = {
    "llava-1.5": "clip",
    "llava-next": "clip",
    "next-video": "clip",
    "next-video-original": "clip",
    "onevision": "siglip",
    "onevision-original": "siglip",
    "llava-video": "siglip",
}
KINDS = tuple(TOWER_OF)
ORIGINAL = ("next-video-original", "onevision-original", "llava-video")
REAL_SIZE = {"clip": 336, "siglip": 384}
#: 6 x 6 and 7 x 7 patches.
TINY_SIZE = {"clip": 84, "siglip": 98}


def tower(kind: str, image_size: int | None = None) -> Tower:
    """Return the tower of a kind, by default with its real grid."""
    name = TOWER_OF[kind]
    return Tower(name, image_size or REAL_SIZE[name])
