"""Make names such as ``sf-llava-7b`` work as vLLM model names.

vLLM has no registry of model names, so this is the one place where its functions are wrapped. vLLM 0.32 looks a name up
on the hub before any plugin can answer: in `EngineArgs.__post_init__` under HF_HUB_OFFLINE, else in
`create_engine_config`. With both wrapped, a name in our registry becomes its model directory, and the directory's
engine defaults apply to arguments that the user left unset. Two further wraps find out which these are (explicit.py).
"""

import dataclasses
import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfllava_plugin import registry
from sfllava_plugin.checkpoints.prepared import engine_defaults, is_prepared
from sfllava_plugin.engine import explicit, rope_override
from sfllava_plugin.engine.explicit import Function
from sfllava_plugin.engine.serving import connector

if TYPE_CHECKING:
    from vllm.engine.arg_utils import EngineArgs

logger = logging.getLogger(__name__)

#: An attribute of our wrappers.
WRAPPED = "_sfllava_wrapped"


def register() -> None:
    """Wrap vLLM's functions that resolve model names; warn if they are missing."""
    from vllm.engine import arg_utils

    surfaces = (
        (arg_utils.EngineArgs, "create_engine_config", _resolving),
        (arg_utils, "get_model_path", _keeping_aliases),
        (arg_utils.EngineArgs, "add_cli_args", explicit.recording_options),
        (arg_utils.EngineArgs, "from_cli_args", explicit.keeping_command),
    )
    if not all(callable(getattr(owner, name, None)) for owner, name, _ in surfaces):
        logger.warning(
            "aliases do not work with this version of vLLM: instead of a name, serve the directory that "
            "`sfllava prepare NAME` prints"
        )
        return
    for owner, name, wrap in surfaces:
        _wrap(owner, name, wrap)


def _wrap(owner: Any, name: str, wrap: Callable[[Function], Function]) -> None:
    """Put ``wrap`` around a function or method, once."""
    found = inspect.getattr_static(owner, name)
    has_descriptor = isinstance(found, staticmethod | classmethod)
    original = found.__func__ if has_descriptor else found
    if hasattr(original, WRAPPED):
        return
    wrapper = functools.wraps(original)(wrap(original))
    setattr(wrapper, WRAPPED, True)
    setattr(owner, name, type(found)(wrapper) if has_descriptor else wrapper)


def resolve(arguments: "EngineArgs") -> None:
    """Replace an alias by its model directory, and apply the directory's defaults."""
    if entry := _entry(arguments.model):
        arguments.served_model_name = arguments.served_model_name or arguments.model
        tokenizer_is_model = arguments.tokenizer == arguments.model
        # Imported late: it loads half of transformers, and most processes never resolve an alias.
        from sfllava_plugin.checkpoints.prepare import prepare

        arguments.model = str(prepare(entry))
        if tokenizer_is_model:
            arguments.tokenizer = arguments.model
    if is_prepared(arguments.model):
        connector.enable(arguments, registry.load().limits.pixels)
        _apply_defaults(arguments, engine_defaults(arguments.model))
        rope_override.apply(arguments, explicit.names(arguments))


def _entry(model: str) -> "registry.Entry | None":
    """Return the registry's entry of a name or alias, or None.

    This runs for every model that vLLM loads: a broken registry of the user's must not stop those that are not ours.

    Raises:
        RegistryError: the user's registry cannot be read, and the packaged one has the name.
    """
    try:
        return registry.load().find(model)
    except registry.RegistryError as error:
        if registry.packaged().find(model):
            raise
        _warn(f"{error}; the models in it are unavailable")
        return None


@functools.cache
def _warn(message: str) -> None:
    logger.warning("%s", message)


def _apply_defaults(arguments: "EngineArgs", defaults: Mapping[str, Any]) -> None:
    fields = {field.name: field for field in dataclasses.fields(arguments)}
    set_by_user = explicit.names(arguments)
    for name, value in defaults.items():
        if name not in fields:
            raise ValueError(f"{arguments.model}: vLLM has no engine argument {name!r}: correct the registry")
        if name not in set_by_user and getattr(arguments, name) == _default(fields[name]):
            setattr(arguments, name, value)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _resolving(create_engine_config: Function) -> Function:
    def resolved(self: "EngineArgs", *args: Any, **kwargs: Any) -> Any:
        resolve(self)
        return create_engine_config(self, *args, **kwargs)

    return resolved


def _keeping_aliases(get_model_path: Function) -> Function:
    def path(model: str | Path, *args: Any, **kwargs: Any) -> str | Path:
        return model if _entry(str(model)) else get_model_path(model, *args, **kwargs)

    return path
