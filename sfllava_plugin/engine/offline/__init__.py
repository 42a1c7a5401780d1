"""Answer many questions with one vLLM engine.

This is the front for `ask`, `batch`, lmms-eval and the Python API. The names load on first use: importing this package
loads neither vLLM nor torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfllava_plugin.engine.offline.devices import devices_of
    from sfllava_plugin.engine.offline.plan import video_identifier
    from sfllava_plugin.engine.offline.questions import DEFAULT_MAX_TOKENS, Answer, Failure, Question, Score, Source
    from sfllava_plugin.engine.offline.replicas import answer_here, answer_on_ray
    from sfllava_plugin.engine.offline.runner import Runner

#: The module that defines each public name.
_MODULES = {
    "Answer": "questions",
    "DEFAULT_MAX_TOKENS": "questions",
    "Failure": "questions",
    "Question": "questions",
    "Runner": "runner",
    "Score": "questions",
    "Source": "questions",
    "answer_here": "replicas",
    "answer_on_ray": "replicas",
    "devices_of": "devices",
    "video_identifier": "plan",
}

__all__ = [
    "DEFAULT_MAX_TOKENS",
    "Answer",
    "Failure",
    "Question",
    "Runner",
    "Score",
    "Source",
    "answer_here",
    "answer_on_ray",
    "devices_of",
    "video_identifier",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
