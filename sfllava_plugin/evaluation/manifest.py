"""What lmms-eval's entry point finds; called at every start of its command, so nothing heavy is imported."""

from lmms_eval.models.registry_v2 import ModelManifest


def manifest() -> ModelManifest:
    # The simple kind alone: lmms-eval's chat kind refuses multiple-choice tasks.
    return ModelManifest(
        model_id="sfllava",
        simple_class_path="sfllava_plugin.evaluation.adapter.SlowFastLlava",
        aliases=("slowfast_llava",),
    )
