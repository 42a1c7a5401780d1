"""Names of the weights in the three kinds of files.

The keys are transformers 5's; "published" are those of llava-hf's repositories, "original" those of the programs.
"""

import re

RULES = {
    "module": [],
    "published": [
        (r"^model\.vision_tower\.", "vision_tower.vision_model."),
        (r"^model\.(multi_modal_projector\.|image_newline$)", r"\1"),
        (r"^model\.language_model\.", "language_model.model."),
        (r"^lm_head\.", "language_model.lm_head."),
    ],
    "original": [
        (r"^model\.vision_tower\.", "model.vision_tower.vision_tower.vision_model."),
        (r"^model\.multi_modal_projector\.linear_1\.", "model.mm_projector.0."),
        (r"^model\.multi_modal_projector\.linear_2\.", "model.mm_projector.2."),
        (r"^model\.language_model\.", "model."),
    ],
}
_FROM_ORIGINAL = [
    (r"^model\.vision_tower\.vision_tower\.vision_model\.", "model.vision_tower."),
    (r"^model\.mm_projector\.0\.", "model.multi_modal_projector.linear_1."),
    (r"^model\.mm_projector\.2\.", "model.multi_modal_projector.linear_2."),
    (r"^model\.(embed_tokens|layers|norm)\.", r"model.language_model.\1."),
]


def _first(rules: list[tuple[str, str]], name: str) -> str:
    for pattern, replacement in rules:
        renamed, hits = re.subn(pattern, replacement, name)
        if hits:
            return renamed
    return name


def to_files(kind: str, name: str) -> str:
    """Rename one of transformers 5's weights for files of this kind."""
    return _first(RULES[kind], name)


def from_original(name: str) -> str:
    """Rename one weight of an original file for transformers 5."""
    return _first(_FROM_ORIGINAL, name)
