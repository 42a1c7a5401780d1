"""Read a CLIP tower's configuration off the shapes of its weights.

An original checkpoint holds a tuned tower, and its config.json only names the stock one.
"""

import re
from pathlib import Path

from transformers import CLIPVisionConfig

from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.checkpoints.weights import tensors

_TOWER = "model.vision_tower.vision_tower.vision_model."
#: CLIP's convention; no shape reveals it.
_HEAD_SIZE = 64


def clip_config(folder: Path) -> CLIPVisionConfig:
    """Read the tower of an original checkpoint.

    Raises:
        CheckpointError: its weights hold no tower.
    """
    names = ((name.removeprefix(_TOWER), tensor) for name, tensor in tensors(folder) if name.startswith(_TOWER))
    shapes = {name: tensor.get_shape() for name, tensor in names}
    try:
        hidden, _, patch, _ = shapes["embeddings.patch_embedding.weight"]
        positions, _ = shapes["embeddings.position_embedding.weight"]
        mlp, _ = shapes["encoder.layers.0.mlp.fc1.weight"]
    except KeyError as error:
        raise CheckpointError(
            f"{folder}: no tuned tower in the weights ({_TOWER}{error.args[0]}); the stock CLIP would not fit them"
        ) from error
    layers = {int(name.split(".")[2]) for name in shapes if re.match(r"encoder\.layers\.\d", name)}
    return CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=max(layers) + 1,
        num_attention_heads=hidden // _HEAD_SIZE,
        patch_size=patch,
        image_size=patch * round((positions - 1) ** 0.5),
        projection_dim=768,
    )
