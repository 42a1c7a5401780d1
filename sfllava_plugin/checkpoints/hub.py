"""Find the checkpoint of a model by its name: a folder on disk, or a hub repository that is fetched.

It loads neither torch nor transformers.
"""

from pathlib import Path

from sfllava_plugin import registry
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.registry import Entry

_FROM_HUB = ["*.json", "*.safetensors", "tokenizer.model", "*.jinja", "*.txt"]


def entry_of(model: str) -> Entry:
    """The registry's entry of that name, or one with every default for a checkpoint folder or a hub repository.

    Raises:
        RegistryError: a bare word that is no name in the registry and no folder; hub repositories have an owner.
    """
    models = registry.load()
    if models.find(model) is None and ("/" in model or Path(model).is_dir()):
        return Entry(name=model, checkpoint=model)
    return models.get(model)


def checkpoint_folder(entry: Entry) -> Path:
    """The folder of a checkpoint, fetched from the hub where it is none on disk.

    Raises:
        CheckpointError: it is neither on disk nor reachable.
    """
    folder = Path(entry.checkpoint).expanduser()
    if folder.is_dir():
        return folder.resolve()
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            huggingface_hub.snapshot_download(entry.checkpoint, revision=entry.revision, allow_patterns=_FROM_HUB)
        )
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {entry.checkpoint!r} is no folder here, and the hub did not give it "
            f"({type(error).__name__}): check the name, the network and HF_TOKEN"
        ) from error
