"""Read a tower's configuration off the shapes of its weights.

An original checkpoint holds a tuned tower, and its config.json only names the stock one.
"""

import re
from pathlib import Path
from typing import Any

from sfllava_plugin.checkpoints.families.towers import Tower, VisionConfig
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.checkpoints.weights import tensors

_TOWER = "model.vision_tower.vision_tower.vision_model."


def vision_config(folder: Path, tower: Tower) -> VisionConfig:
    """Read the tower of an original checkpoint.

    Raises:
        CheckpointError: its weights hold no tower, or one of another size.
    """
    names = ((name.removeprefix(_TOWER), tensor) for name, tensor in tensors(folder) if name.startswith(_TOWER))
    shapes = {name: tensor.get_shape() for name, tensor in names}
    try:
        hidden, _, patch, _ = shapes["embeddings.patch_embedding.weight"]
        positions, _ = shapes["embeddings.position_embedding.weight"]
        mlp, _ = shapes["encoder.layers.0.mlp.fc1.weight"]
    except KeyError as error:
        raise CheckpointError(
            f"{folder}: no tuned tower in the weights ({_TOWER}{error.args[0]}); the stock {tower.stock} would not fit "
            "them"
        ) from error
    side = round((positions - tower.class_token) ** 0.5)
    image_size = tower.image_size or patch * side
    if image_size // patch != side:
        raise CheckpointError(
            f"{folder}: its tower has {positions} positions, {tower.stock} has {image_size // patch}x"
            f"{image_size // patch} patches of {patch} pixels"
        )
    layers = {int(name.split(".")[2]) for name in shapes if re.match(r"encoder\.layers\.\d", name)}
    settings: dict[str, Any] = {
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": max(layers) + 1,
        "num_attention_heads": hidden // tower.head_size,
        "patch_size": patch,
        "image_size": image_size,
    }
    return tower.config(**settings)
