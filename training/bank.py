"""Features of many clips, computed once with the frozen tower."""

import random
from dataclasses import dataclass

import torch

from sfllava_plugin.shapes.scenes import Scene, random_scene
from training.model import GRID, WIDTH, Tower
from training.pictures import moments, pictures

#: The most frames that training uses. Smaller numbers are subsets.
MOST_FRAMES = 32


@dataclass(frozen=True)
class Bank:
    """Scenes and their features, float16 [clips, MOST_FRAMES, patches, WIDTH]."""

    scenes: list[Scene]
    features: torch.Tensor

    def pick(self, indices: list[int], frames: int, rng: random.Random) -> torch.Tensor:
        """Pick clips and frames: float32 [len(indices), frames, patches, WIDTH]."""
        step = MOST_FRAMES // frames
        # Only the first two offsets: later ones would show flashes to the slow frames.
        offset = rng.randrange(min(step, 2))
        return self.features[indices, offset::step].float()


@torch.no_grad()
def build(tower: Tower, seeds: range) -> Bank:
    scenes = [random_scene(seed) for seed in seeds]
    features = torch.empty(len(scenes), MOST_FRAMES, GRID * GRID, WIDTH, dtype=torch.float16)
    for i, scene in enumerate(scenes):
        frames = pictures(scene, moments(MOST_FRAMES), random.Random(scene.seed))
        with torch.autocast("cpu", torch.bfloat16):
            features[i] = tower(torch.from_numpy(frames))
    return Bank(scenes, features)
