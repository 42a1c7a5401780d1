"""Which engine arguments the user has set; a model's own defaults go where nothing was set.

vLLM's `EngineArgs` keeps values, not where they came from: after ``--no-enforce-eager`` it looks as if nobody had said
anything. So each door is asked in its own way:

- our runner, behind `sfllava` and lmms-eval, says what it was given (`told`);
- vLLM's command: its parser's actions note the options that it meets, those of a ``--config`` file too;
- ``LLM(...)``: the keywords stand in the code of the call. Nothing can be wrapped in time, because vLLM loads plugins
  after the first call has begun.

Where none of these applies, in ``LLM(**settings)`` or ``EngineArgs(...)``, nothing is known, and a value that equals
vLLM's default counts as not set.
"""

import argparse
import dis
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm.engine.arg_utils import EngineArgs

#: The attribute of a namespace with the names of what was set.
_GIVEN = "sfllava_given"
#: The attribute of an `EngineArgs` with the command's arguments, from which it was made.
_COMMAND = "sfllava_command"

_told: ContextVar[frozenset[str]] = ContextVar("told", default=frozenset())


def names(arguments: "EngineArgs") -> frozenset[str]:
    """The arguments that the user is known to have set."""
    noted = frozenset(getattr(command(arguments), _GIVEN, ()))
    return noted | _told.get() | _keywords_of_llm()


def command(arguments: "EngineArgs") -> argparse.Namespace | None:
    """The arguments of vLLM's command, if these came from one."""
    return getattr(arguments, _COMMAND, None)


@contextmanager
def told(given: Iterable[str]) -> Iterator[None]:
    """Say what the user has set of the arguments of an engine that is made inside."""
    token = _told.set(frozenset(given))
    try:
        yield
    finally:
        _told.reset(token)


class _Store(argparse.Action):
    """argparse's own way to store a value, with a note of the name."""

    def __call__(self, parser, namespace, values, option_string=None):
        _note(namespace, self.dest)
        setattr(namespace, self.dest, values)


class _StoreBoolean(argparse.BooleanOptionalAction):
    def __call__(self, parser, namespace, values, option_string=None):
        _note(namespace, self.dest)
        super().__call__(parser, namespace, values, option_string)


def _note(namespace: argparse.Namespace, name: str) -> None:
    vars(namespace).setdefault(_GIVEN, set()).add(name)


def noting_options(add_cli_args):
    """Wrap `EngineArgs.add_cli_args`: the options note that they were given."""

    def add(parser, *args, **kwargs):
        for action, noting in ((None, _Store), ("store", _Store), (argparse.BooleanOptionalAction, _StoreBoolean)):
            parser.register("action", action, noting)
        return add_cli_args(parser, *args, **kwargs)

    return add


def keeping_command(from_cli_args):
    """Wrap `EngineArgs.from_cli_args`: the command's arguments stay with the engine's."""

    def read(cls, args):
        arguments = from_cli_args(cls, args)
        setattr(arguments, _COMMAND, args)
        return arguments

    return read


def _keywords_of_llm() -> frozenset[str]:
    """The keywords of the ``LLM(...)`` that is being made, if one is."""
    module = sys.modules.get("vllm.entrypoints.llm")
    code = getattr(getattr(getattr(module, "LLM", None), "__init__", None), "__code__", None)
    frame = sys._getframe()
    while frame and frame.f_code is not code:
        frame = frame.f_back
    return _keywords(frame.f_back) if frame and frame.f_back else frozenset()


def _keywords(frame: FrameType) -> frozenset[str]:
    """The keywords of the call that ``frame`` is in; none where they come from a mapping."""
    code = frame.f_code
    begun = [step for step in dis.get_instructions(code) if step.offset <= frame.f_lasti]
    # Python 3.11 and 3.12 name them before the call, 3.13 hands them to another kind of call.
    *_, before, call = (step for step in begun if step.opname not in ("CACHE", "PRECALL"))
    if before.opname == "KW_NAMES" or call.opname == "CALL_KW":
        return frozenset(code.co_consts[before.arg])
    return frozenset()
