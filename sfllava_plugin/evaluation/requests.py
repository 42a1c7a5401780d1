"""Translate lmms-eval's requests into questions, and answers into scored text."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmms_eval.api.instance import Instance
from PIL import Image

from sfllava_plugin.engine.offline import Question, Source
from sfllava_plugin.evaluation.documents import Asked, Document, question_and_options, words_around
from sfllava_plugin.evaluation.pictures import PictureFiles
from sfllava_plugin.prompts import FAMILIES
from sfllava_plugin.prompts.readings import READINGS
from sfllava_plugin.prompts.wrappers import Family

PROMPTS = ("paper", "task")
#: The released evaluation's limit. A task's own is used if smaller; larger ones are meant for wordier models.
MAX_NEW_TOKENS = 128
#: lmms-eval's default for tasks that name no stops.
_NO_STOPS = ["\n\n"]
_PADDING = "__padding_only__"

#: lmms-eval's `task_dict`: task name -> split -> documents.
TaskDict = Mapping[str, Mapping[str, Any]]
#: A task's function, mostly bound to the task: the videos or images of a document; None for a task of text alone.
DocToVisual = Callable[[Document], Sequence[Any] | None]


@dataclass(frozen=True)
class Translation:
    """The way requests become questions.

    Questions about pictures and about text alone are the task's own text: the paper's wrapper speaks of a video.

    Attributes:
        prompt: one of `PROMPTS`; see adapter.py.
        max_new_tokens: the longest answer in tokens; None leaves it to the method and the task.
        method: the model's own prompts, and what belongs to them; of no effect with the task's text.
        pictures: where pictures are kept.
    """

    prompt: str
    max_new_tokens: int | None
    method: Family = FAMILIES["vicuna"]
    pictures: PictureFiles = field(default_factory=PictureFiles)

    def question(self, request: Instance, task_dict: TaskDict) -> Question:
        """Translate a `generate_until` request.

        Raises:
            ValueError: the task shows neither one video file nor pictures.
            OSError: a picture cannot be written.
            Exception, SystemExit: whatever the task's own code raises.
        """
        context, settings, doc_to_visual, doc_id, task, split = request.args
        doc = task_dict[task][split][doc_id]
        source = self._source(doc_to_visual, doc)
        text, options = self._text_and_options(context, source, doc_to_visual, doc, task)
        return Question(source, text, options, self._longest(settings, source), self._prompt_frame)

    def continuation(self, request: Instance, task_dict: TaskDict) -> Question:
        """Translate a `loglikelihood` request.

        Raises:
            ValueError: the task shows neither one video file nor pictures.
            OSError: a picture cannot be written.
            Exception, SystemExit: whatever the task's own code raises.
        """
        context, continuation, doc_to_visual, doc_id, task, split = request.args
        doc = task_dict[task][split][doc_id]
        if callable(continuation):
            continuation = continuation(doc)
        # A continuation answers in words: the open-ended wrapper, without the options.
        source = self._source(doc_to_visual, doc)
        text, _ = self._text_and_options(context, source, doc_to_visual, doc, task)
        joined = continuation if continuation[:1].isspace() else f" {continuation}"
        return Question(source, text, prompt_frame=self._prompt_frame or "open_ended", continuation=joined)

    def reply(self, request: Instance, task_dict: TaskDict, text: str) -> str:
        """Reduce the model's text to the letter or text a task scores."""
        context, settings, doc_to_visual, doc_id, task, split = request.args
        _, options = _question_and_options(context, doc_to_visual, task_dict[task][split][doc_id], task)
        read = READINGS["free" if self.prompt == "task" else self.method.reading]
        letter = read(text, options) if options else None
        return letter or _until(text, settings.get("until"))

    def _source(self, doc_to_visual: DocToVisual, doc: Document) -> Source:
        visuals = doc_to_visual(doc) or ()
        if len(visuals) == 1 and isinstance(visuals[0], str | os.PathLike):
            return str(visuals[0])
        if not all(isinstance(visual, Image.Image) for visual in visuals):
            raise ValueError("sfllava answers questions about one video file or about pictures, not about both at once")
        return tuple(self.pictures.add(visual) for visual in visuals)

    def _longest(self, settings: Mapping[str, Any], source: Source) -> int:
        """The user's number; else the method's own; else the task's, at most `MAX_NEW_TOKENS`."""
        if self.max_new_tokens:
            return self.max_new_tokens
        if self.prompt == "paper" and isinstance(source, str) and self.method.max_tokens:
            return self.method.max_tokens
        return min(settings.get("max_new_tokens") or MAX_NEW_TOKENS, MAX_NEW_TOKENS)

    def _text_and_options(
        self, context: str, source: Source, doc_to_visual: DocToVisual, doc: Document, task: str
    ) -> Asked:
        # The task's own text already lists the options.
        if self.prompt == "task" or isinstance(source, tuple):
            return context, ()
        return _question_and_options(context, doc_to_visual, doc, task)

    @property
    def _prompt_frame(self) -> str | None:
        return "none" if self.prompt == "task" else None


def is_padding(request: Instance) -> bool:
    """Tell requests that only give every process the same number."""
    return bool((request.metadata or {}).get(_PADDING))


def command_of(request: Instance) -> Any:
    """Parsed arguments of lmms-eval's command; None in a program that calls lmms-eval."""
    return getattr(getattr(request.args[2], "__self__", None), "args", None)


def _question_and_options(context: str, doc_to_visual: DocToVisual, doc: Document, task: str) -> Asked:
    settings = getattr(getattr(doc_to_visual, "__self__", None), "lmms_eval_specific_kwargs", None)
    return question_and_options(task, doc, context, words_around(settings))


def _until(text: str, stops: list[str] | str | None) -> str:
    """Cut the text at the first stop of the task's own."""
    stops = [stops] if isinstance(stops, str) else stops or []
    for stop in stops if stops != _NO_STOPS else ():
        text = text.split(stop)[0] if stop else text
    return text
