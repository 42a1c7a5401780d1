"""Stage 1: the tower learns to see single pictures.

Small heads predict from every patch the colour and kind of the shape that covers it, those of the nearest shape, that
shape's place, and the colour of a flash. The heads are discarded; the tower keeps the features they needed.
"""

import random
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from sfllava_plugin.shapes.clips import TRAINING_SEEDS
from sfllava_plugin.shapes.scenes import COLOURS, SHAPES, Scene, random_scene
from training.model import GRID, WIDTH, Tower
from training.pictures import pictures

#: Pictures of one scene: another scene costs more than another picture.
_PICTURES_EACH = 4
#: Kind of a patch without a shape. Ignored, as it would dominate the loss.
_NOTHING = -100


@dataclass(frozen=True)
class Labels:
    """Truth for every patch: int64 [N, P], but `place` is float32 [N, P, 2]."""

    covered_colour: torch.Tensor
    covered_kind: torch.Tensor
    nearest_colour: torch.Tensor
    nearest_kind: torch.Tensor
    flash: torch.Tensor
    place: torch.Tensor


class Heads(nn.Module):
    """Linear heads, applied to every patch."""

    SIZES = {
        "covered_colour": len(COLOURS) + 1,
        "covered_kind": len(SHAPES),
        "nearest_colour": len(COLOURS),
        "nearest_kind": len(SHAPES),
        "flash": len(COLOURS) + 1,
    }

    def __init__(self):
        super().__init__()
        self.questions = nn.ModuleDict({name: nn.Linear(WIDTH, size) for name, size in self.SIZES.items()})
        self.place = nn.Linear(WIDTH, 2)

    def forward(self, features: torch.Tensor, labels: Labels) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the loss, each head's accuracy, and the place's mean error."""
        found = self.place(features).float()
        loss = 4 * F.smooth_l1_loss(found, 4 * (labels.place - 0.5), beta=0.1)
        right = {"place error": ((found / 4 + 0.5) - labels.place).abs().mean().item()}
        for name, head in self.questions.items():
            logits, truth = head(features).float(), getattr(labels, name)
            loss = loss + F.cross_entropy(logits.flatten(0, 1), truth.flatten(), ignore_index=_NOTHING)
            right[name] = (logits.argmax(-1) == truth)[truth != _NOTHING].float().mean().item()
        return loss, right


def sample(count: int, rng: random.Random) -> tuple[torch.Tensor, Labels]:
    """Draw `count` labelled pictures of random scenes: uint8 [N, S, S, 3]."""
    frames, labels = [], []
    for _ in range(count // _PICTURES_EACH):
        scene = random_scene(TRAINING_SEEDS + rng.randrange(10**9))
        times = [_moment(scene, rng) for _ in range(_PICTURES_EACH)]
        frames.append(pictures(scene, times, rng))
        labels.extend(_labels(scene, time) for time in times)
    columns = zip(*labels, strict=True)
    return torch.from_numpy(np.concatenate(frames)), Labels(*(torch.from_numpy(np.stack(column)) for column in columns))


def _moment(scene: Scene, rng: random.Random) -> float:
    """Choose a moment, favouring the flash."""
    if scene.flash and rng.random() < 0.3:
        return scene.flash.begins + 0.01
    return rng.random()


def _labels(scene: Scene, time: float) -> tuple[np.ndarray, ...]:
    """Label one picture: the fields of `Labels`."""
    visible = [shape for shape in scene.shapes if time >= shape.appears_at]
    centres = np.array([shape.centre_at(time) for shape in visible])
    down, across = np.mgrid[0:GRID, 0:GRID].reshape(2, -1)
    patches = (np.stack([across, down], -1) + 0.5) / GRID
    distances = np.linalg.norm(patches[:, None] - centres, axis=-1)
    nearest = distances.argmin(1)
    covered = distances.min(1) < np.array([shape.radius for shape in visible])[nearest]
    colours = np.array([COLOURS.index(shape.colour_at(time)) for shape in visible])[nearest]
    kinds = np.array([SHAPES.index(shape.kind) for shape in visible])[nearest]
    lit = scene.flash and scene.flash.lights(time)
    flash = np.full(len(patches), COLOURS.index(scene.flash.colour) if lit else len(COLOURS))
    return (
        np.where(covered, colours, len(COLOURS)),
        np.where(covered, kinds, _NOTHING),
        colours,
        kinds,
        flash,
        centres[nearest].astype(np.float32),
    )


class TowerStage(nn.Module):
    """The tower with its heads."""

    def __init__(self):
        super().__init__()
        self.tower, self.heads = Tower(), Heads()

    def forward(self, frames: torch.Tensor, labels: Labels) -> tuple[torch.Tensor, dict[str, float]]:
        return self.heads(self.tower(frames), labels)
