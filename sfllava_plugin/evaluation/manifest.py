"""The entry point for lmms-eval.

Every start of its command calls it, so it imports nothing heavy.
"""

from lmms_eval.models.registry_v2 import ModelManifest


def manifest() -> ModelManifest:
    # Only as a "simple" model: lmms-eval's "chat" models refuse multiple-choice tasks.
    return ModelManifest(
        model_id="sfllava",
        simple_class_path="sfllava_plugin.evaluation.adapter.SlowFastLlava",
        aliases=("slowfast_llava",),
    )
