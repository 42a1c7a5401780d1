"""The two towers of the LLaVA family, and what no checkpoint's weights tell of them."""

from dataclasses import dataclass
from typing import Any, Literal

from transformers import CLIPVisionConfig, SiglipVisionConfig

from sfllava_plugin.checkpoints.normalisation import Statistics

VisionConfig = CLIPVisionConfig | SiglipVisionConfig


@dataclass(frozen=True)
class Tower:
    """A kind of tower.

    Attributes:
        stock: the last part of ``mm_vision_tower`` in the config.json of an original checkpoint.
        statistics: mean and standard deviation of its pixels.
        feature_layer: the hidden state that is read, counted from the end of the layers in the files.
        strategy: transformers' ``vision_feature_select_strategy``; "default" drops the class token.
        head_size: width of an attention head, which no weight's shape tells.
        image_size: of the stock tower. SigLIP's 384 is no multiple of its patches: they cover 378 pixels.
        layers: of the stock tower; an original checkpoint may lack the last ones.
    """

    kind: Literal["clip", "siglip"]
    config: type[VisionConfig]
    stock: str
    statistics: Statistics
    feature_layer: int
    strategy: Literal["default", "full"]
    head_size: int
    image_size: int | None
    layers: int

    @property
    def class_token(self) -> bool:
        """Tell whether a class token stands before the patches."""
        return self.strategy == "default"


CLIP = Tower(
    kind="clip",
    config=CLIPVisionConfig,
    stock="clip-vit-large-patch14-336",
    statistics=((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    feature_layer=-2,
    strategy="default",
    head_size=64,
    image_size=None,
    layers=24,
)

#: The authors' program takes the stock tower's last layer off, so -2 in its config.json is -1 here.
SIGLIP = Tower(
    kind="siglip",
    config=SiglipVisionConfig,
    stock="siglip-so400m-patch14-384",
    statistics=((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    feature_layer=-1,
    strategy="full",
    head_size=72,
    image_size=384,
    layers=27,
)


def stock_name(config: dict[str, Any]) -> str:
    """The last part of ``mm_vision_tower``, which may be a hub repository or somebody's folder."""
    return str(config.get("mm_vision_tower")).rstrip("/").rpartition("/")[2]
