"""Find a model's checkpoint: a folder on disk, or a hub repository to fetch.

Loads neither torch nor transformers.
"""

from pathlib import Path

from sfllava_plugin import registry
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.registry import Entry

_FROM_HUB = ["*.json", "*.safetensors", "tokenizer.model", "*.jinja", "*.txt"]


def entry_of(model: str) -> Entry:
    """Return the registry's entry, or one with every default for a folder or hub repository.

    Raises:
        RegistryError: a bare word that is neither in the registry nor a folder; hub repositories have an owner.
    """
    models = registry.load()
    if models.find(model) is None and ("/" in model or Path(model).is_dir()):
        return Entry(name=model, checkpoint=model)
    return models.get(model)


def checkpoint_folder(entry: Entry) -> Path:
    """Return a checkpoint's folder, fetching it from the hub if it is not on disk.

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
            f"checkpoint {entry.checkpoint!r} is not a local folder, and cannot be fetched from the hub "
            f"({type(error).__name__}): check the name, the network and HF_TOKEN"
        ) from error
