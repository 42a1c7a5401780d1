"""``sf-llava-7b`` and the like as vLLM model names: the one place where vLLM offers no registry and is wrapped.

vLLM asks the hub for a model name before any plugin could answer (facts of vLLM 0.32: `EngineArgs.__post_init__` under
HF_HUB_OFFLINE, `create_engine_config` otherwise). Both are wrapped: a name from the registry becomes its model
directory, and a model directory's own engine defaults apply where the user set nothing. What the command line sets is
known from two further wraps (given.py).
"""

import dataclasses
import functools
import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sfllava_plugin import registry
from sfllava_plugin.checkpoints.prepared import engine_defaults, is_prepared
from sfllava_plugin.engine import explicit
from sfllava_plugin.engine.serving import connector

if TYPE_CHECKING:
    from vllm.engine.arg_utils import EngineArgs

logger = logging.getLogger(__name__)

#: Marks what is wrapped already.
WRAPPED = "_sfllava_wrapped"


def register() -> None:
    """Wrap what resolves model names; if this vLLM has it no longer, say so and leave aliases out."""
    from vllm.engine import arg_utils

    surfaces = (
        (arg_utils.EngineArgs, "create_engine_config", _resolve_before),
        (arg_utils, "get_model_path", _leave_aliases),
        (arg_utils.EngineArgs, "add_cli_args", explicit.noting_options),
        (arg_utils.EngineArgs, "from_cli_args", explicit.keeping_command),
    )
    if not all(callable(getattr(owner, name, None)) for owner, name, _ in surfaces):
        logger.warning(
            "this vLLM resolves model names in another way: serve the directory that "
            "`sfllava prepare NAME` prints instead of the name"
        )
        return
    for owner, name, wrap in surfaces:
        _wrap(owner, name, wrap)


def _wrap(owner: Any, name: str, wrap: Callable) -> None:
    """Put ``wrap`` around a function or method, once."""
    found = inspect.getattr_static(owner, name)
    is_bound_otherwise = isinstance(found, staticmethod | classmethod)
    original = found.__func__ if is_bound_otherwise else found
    if hasattr(original, WRAPPED):
        return
    wrapper = functools.wraps(original)(wrap(original))
    setattr(wrapper, WRAPPED, True)
    setattr(owner, name, type(found)(wrapper) if is_bound_otherwise else wrapper)


def resolve(arguments: "EngineArgs") -> None:
    """Turn an alias into its model directory, and complete the arguments of a model directory."""
    if entry := _entry(arguments.model):
        arguments.served_model_name = arguments.served_model_name or arguments.model
        tokenizer_is_model = arguments.tokenizer == arguments.model
        # Here and not above: it loads half of transformers, and most processes never ask for an alias.
        from sfllava_plugin.checkpoints.prepare import prepare

        arguments.model = str(prepare(entry))
        if tokenizer_is_model:
            arguments.tokenizer = arguments.model
    if is_prepared(arguments.model):
        connector.choose(arguments, registry.load().limits.pixels)
        _complete(arguments, engine_defaults(arguments.model))


def _entry(model: str) -> "registry.Entry | None":
    """The entry of this name or alias, or None: every model of every process is asked for.

    Raises:
        RegistryError: the user's registry cannot be read, and the name is one of ours.
    """
    try:
        return registry.load().find(model)
    except registry.RegistryError as error:
        if registry.packaged().find(model):
            raise
        _warn(f"{error}; its models are unknown")
        return None


@functools.cache
def _warn(message: str) -> None:
    logger.warning("%s", message)


def _complete(arguments: "EngineArgs", defaults: dict) -> None:
    fields = {field.name: field for field in dataclasses.fields(arguments)}
    set_by_user = explicit.names(arguments)
    for name, value in defaults.items():
        if name not in fields:
            raise ValueError(f"{arguments.model}: vLLM has no engine argument {name!r}: correct the registry")
        if name not in set_by_user and getattr(arguments, name) == _default(fields[name]):
            setattr(arguments, name, value)


def _default(field: dataclasses.Field):
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _resolve_before(create_engine_config):
    def resolved(self, *args, **kwargs):
        resolve(self)
        return create_engine_config(self, *args, **kwargs)

    return resolved


def _leave_aliases(get_model_path):
    def path(model, *args, **kwargs):
        return model if _entry(str(model)) else get_model_path(model, *args, **kwargs)

    return path
