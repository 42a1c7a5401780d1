"""Find the engine arguments that the user set.

A model's own defaults apply to the others only.

vLLM's `EngineArgs` holds values, not their origin: after ``--no-enforce-eager`` it looks as if the option was never
given. Each way to start an engine needs its own answer:

- our runner, behind `sfllava` and lmms-eval, declares its arguments (`declared`);
- vLLM's command: the parser's actions record the options that they meet, including those of a ``--config`` file;
- ``LLM(...)``: the keywords are read from the bytecode of the call. Wrapping comes too late here, because vLLM loads
  plugins after the first call has begun.

The others, ``LLM(**settings)`` and ``EngineArgs(...)``, leave no trace, and a value equal to vLLM's default counts as
not set.
"""

import argparse
import dis
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm.engine.arg_utils import EngineArgs

#: A function of vLLM's, before or after wrapping.
Function = Callable[..., Any]

#: An attribute of argparse's namespace: the names of the arguments that were set.
_EXPLICIT = "sfllava_explicit"
#: An attribute of `EngineArgs`: the command's namespace from which it was made.
_COMMAND = "sfllava_command"

_declared: ContextVar[frozenset[str]] = ContextVar("declared", default=frozenset())


def names(arguments: "EngineArgs") -> frozenset[str]:
    """Return the arguments that the user is known to have set."""
    recorded = frozenset(getattr(command(arguments), _EXPLICIT, ()))
    return recorded | _declared.get() | _keywords_of_llm()


def command(arguments: "EngineArgs") -> argparse.Namespace | None:
    """Return the namespace of vLLM's command, if the arguments came from one."""
    return getattr(arguments, _COMMAND, None)


@contextmanager
def declared(names: Iterable[str]) -> Iterator[None]:
    """Declare what the user set, for an engine created in this context."""
    token = _declared.set(frozenset(names))
    try:
        yield
    finally:
        _declared.reset(token)


class _Store(argparse.Action):
    """argparse's "store", which also records the name."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        _record(namespace, self.dest)
        setattr(namespace, self.dest, values)


class _StoreBoolean(argparse.BooleanOptionalAction):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        _record(namespace, self.dest)
        super().__call__(parser, namespace, values, option_string)


def _record(namespace: argparse.Namespace, name: str) -> None:
    vars(namespace).setdefault(_EXPLICIT, set()).add(name)


def recording_options(add_cli_args: Function) -> Function:
    """Wrap `EngineArgs.add_cli_args`: record the options that are given."""

    def add(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> Any:
        for action, recording in ((None, _Store), ("store", _Store), (argparse.BooleanOptionalAction, _StoreBoolean)):
            parser.register("action", action, recording)
        return add_cli_args(parser, *args, **kwargs)

    return add


def keeping_command(from_cli_args: Function) -> Function:
    """Wrap `EngineArgs.from_cli_args`: attach the command's namespace to the engine's arguments."""

    def read(cls: "type[EngineArgs]", args: argparse.Namespace) -> "EngineArgs":
        arguments: EngineArgs = from_cli_args(cls, args)
        setattr(arguments, _COMMAND, args)
        return arguments

    return read


def _keywords_of_llm() -> frozenset[str]:
    """Return the keywords of the ``LLM(...)`` call in progress, if any."""
    module = sys.modules.get("vllm.entrypoints.llm")
    code = getattr(getattr(getattr(module, "LLM", None), "__init__", None), "__code__", None)
    frame: FrameType | None = sys._getframe()
    while frame and frame.f_code is not code:
        frame = frame.f_back
    return _keywords(frame.f_back) if frame and frame.f_back else frozenset()


def _keywords(frame: FrameType) -> frozenset[str]:
    """Return the literal keywords of the call that ``frame`` is executing."""
    code = frame.f_code
    begun = [step for step in dis.get_instructions(code) if step.offset <= frame.f_lasti]
    # Python 3.11 and 3.12 name the keywords before the call, 3.13 has an instruction for calls with keywords.
    *_, before, call = (step for step in begun if step.opname not in ("CACHE", "PRECALL"))
    if before.arg is not None and (before.opname == "KW_NAMES" or call.opname == "CALL_KW"):
        return frozenset(code.co_consts[before.arg])
    return frozenset()
