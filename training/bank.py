"""The features of many clips, computed once: the tower is not trained further, and most of the work is its."""

import random
from dataclasses import dataclass

import torch

from sfllava_plugin.shapes.scenes import Scene, random_scene
from training.model import GRID, WIDTH, Tower
from training.pictures import moments, pictures

#: As many frames as training ever shows; fewer are taken out of these.
MOST_FRAMES = 32


@dataclass(frozen=True)
class Bank:
    """Scenes and the tower's features of them, float16 [clips, MOST_FRAMES, patches, WIDTH]."""

    scenes: list[Scene]
    features: torch.Tensor

    def pick(self, indices: list[int], frames: int, rng: random.Random) -> torch.Tensor:
        """Features of some clips at `frames` frames, float32 [len(indices), frames, patches, WIDTH]."""
        step = MOST_FRAMES // frames
        # The first ones of each step stay before every flash that the slow frames should not see.
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
