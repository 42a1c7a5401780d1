"""The prompt frames of the paper.

The published prompts are part of the method: without them EgoSchema loses three to four points (arXiv 2407.15841,
appendix). They are put into one chat template per model, so that every door, HTTP, command line and Python, sends the
same text. The template takes two arguments beside the messages:

- ``prompt_frame``: ``open_ended`` (the default), ``multiple_choice``, ``none`` (the video and the text, in the
  checkpoint's own conversation format) or ``complete`` (the text is the whole prompt and marks the video itself);
- ``options``: texts that become the lines ``(A) ...``; with them ``multiple_choice`` is the default.

This module knows text. It does not know tokenizers, videos or vLLM.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources

#: Marks the video in a prompt.
VIDEO_MARKER = "<image>"

_EXPERT = "You are a helpful expert in video analysis. Select the best option to answer the question."
_INPUT = "The input consists of a sequence of key frames from a video."
_TASK = (
    "Answer concisely with overall content and context of the video, highlighting any significant events, "
    "characters, or objects that appear throughout the video."
)
_OPEN_ENDED = f"{_INPUT} {_TASK} Question: "
_OPEN_ENDED_ANSWER = "Answer: In the video,"
_BEST = "\nOnly give the best option."
_BEST_ANSWER = "Answer: Best option:("


class PromptError(ValueError):
    """A prompt family or a chat template that cannot be used."""


@dataclass(frozen=True)
class Frame:
    """One prompt frame, cut where the video, the question and the model's own chat format go.

    ``options`` follow the question directly; ``answer`` is the beginning of the reply that the model continues.
    """

    before_question: str
    answer: str
    system: str = ""
    before_video: str = ""
    after_question: str = ""


@dataclass(frozen=True)
class Family:
    """The two frames of one family of language models.

    ``template`` names the packaged conversation format of a family whose frames the paper published; the others have
    none and stand inside the checkpoint's own chat template. ``conversation`` is the system message such a model
    was trained with, used where no frame and no system message is.
    """

    open_ended: Frame
    multiple_choice: Frame
    template: str | None = None
    conversation: str = ""


_GENERIC = Family(
    open_ended=Frame(_OPEN_ENDED, _OPEN_ENDED_ANSWER),
    multiple_choice=Frame(f"{_INPUT}\nQuestion: ", _BEST_ANSWER, system=_EXPERT, after_question=_BEST),
)

FAMILIES = {
    "vicuna": Family(
        open_ended=Frame(_OPEN_ENDED, f"\n{_OPEN_ENDED_ANSWER}", after_question=" \n"),
        multiple_choice=Frame(
            f"{_INPUT}\nQuestion: ",
            f"\n{_BEST_ANSWER}",
            system=_EXPERT,
            after_question=f"{_BEST} \n",
        ),
        template="vicuna.jinja",
        conversation=(
            "A chat between a curious human and an artificial intelligence assistant. "
            "The assistant gives helpful, detailed, and polite answers to the human's questions."
        ),
    ),
    "yi": Family(
        open_ended=Frame(
            _OPEN_ENDED,
            _OPEN_ENDED_ANSWER,
            system=" Answer the question. ",
            before_video=" ",
            after_question=" ",
        ),
        multiple_choice=Frame(
            f"{_INPUT} Question: ",
            _BEST_ANSWER,
            system=f" {_EXPERT} ",
            before_video=" ",
            after_question=f"{_BEST} ",
        ),
        template="yi.jinja",
        conversation="Answer the questions.",
    ),
    "mistral": _GENERIC,
    "llama3": _GENERIC,
    "qwen": _GENERIC,
}


def chat_template(
    family: str,
    *,
    special_tokens: Sequence[str],
    bos_token: str = "",
    own_template: str | None = None,
) -> str:
    """Write the chat template of a model directory.

    Args:
        family: a key of `FAMILIES`.
        special_tokens: texts that the tokenizer would turn into a token of their own. In a message they are text: a
            space after their first character keeps them apart.
        bos_token: what the tokenizer puts before every text, or "".
        own_template: the checkpoint's own chat template (Jinja), used by families without a packaged one.

    Raises:
        PromptError: an unknown family, or a family that needs the checkpoint's template and gets none that works.
    """
    if family not in FAMILIES:
        raise PromptError(f"unknown prompts {family!r}: use one of {', '.join(FAMILIES)}")
    prompts = FAMILIES[family]
    if prompts.template:
        conversation = _template(prompts.template)
    elif own_template:
        conversation = own_template
    else:
        raise PromptError(f"prompts {family!r} stand inside the checkpoint's own chat template, and it has none")
    own = _Conversation(conversation, bos_token, prompts.open_ended.answer)
    frames = {
        kind: asdict(frame if own.takes_system else _without_system(frame))
        for kind, frame in (
            ("open_ended", prompts.open_ended),
            ("multiple_choice", prompts.multiple_choice),
        )
    }
    frames |= {"conversation": prompts.conversation, "lead": own.lead}
    # Longest first: a token that contains another one is taken apart as a whole.
    tokens = sorted(set(special_tokens), key=lambda token: (-len(token), token))
    blanks = {
        "@FRAMES@": json.dumps(frames),
        "@SPECIAL_TOKENS@": json.dumps(tokens),
        "@BOS@": json.dumps(bos_token),
        "@CONVERSATION_BOS@": json.dumps("" if own.writes_bos else bos_token),
        "@TEXT_PARTS@": "true" if own.takes_parts else "false",
        "@CONVERSATION@": conversation.strip("\n"),
    }
    return re.sub("|".join(blanks), lambda match: blanks[match[0]], _template("frames.jinja"))


def render(
    template: str,
    question: str,
    options: Sequence[str] | None = None,
    prompt_frame: str | None = None,
    *,
    bos_token: str = "",
    eos_token: str = "",
) -> str:
    """The whole prompt for one question about one video, with `VIDEO_MARKER` where the video goes."""
    content = [{"type": "video"}, {"type": "text", "text": question}]
    return _render(
        template,
        [{"role": "user", "content": content}],
        options=list(options or []),
        prompt_frame=prompt_frame,
        bos_token=bos_token,
        eos_token=eos_token,
    )


class _Conversation:
    """What a checkpoint's own chat template does, found out by rendering it."""

    _USER, _SYSTEM, _REPLY = "user-probe", "system-probe", "reply-probe"

    def __init__(self, template: str, bos_token: str, answer: str):
        self._template, self._bos_token = template, bos_token
        self.takes_parts = self._USER not in (self._try(parts=False) or "")
        prompt = self._try()
        if prompt is None or self._USER not in prompt:
            raise PromptError("the checkpoint's chat template renders no user message")
        self.writes_bos = bool(bos_token) and prompt.startswith(bos_token)
        self.takes_system = self._SYSTEM in (self._try(before=("system", self._SYSTEM)) or "")
        # Some templates write a space between their own prompt and the reply.
        replied = self._try(after=("assistant", answer + self._REPLY)) or ""
        lead = replied[len(prompt) :].partition(answer.lstrip() + self._REPLY)[0]
        lead = lead.removesuffix(answer[: len(answer) - len(answer.lstrip())])
        self.lead = lead if replied.startswith(prompt) else ""

    def _try(self, before=None, after=None, parts: bool | None = None) -> str | None:
        from jinja2 import TemplateError

        turns = [turn for turn in (before, ("user", self._USER), after) if turn]
        as_parts = self.takes_parts if parts is None else parts
        messages = [
            {"role": role, "content": [{"type": "text", "text": text}] if as_parts else text} for role, text in turns
        ]
        try:
            return _render(
                self._template,
                messages,
                add_generation_prompt=after is None,
                bos_token=self._bos_token,
                eos_token="",
            )
        except (TemplateError, TypeError, ValueError):
            return None


def _without_system(frame: Frame) -> Frame:
    """Say what the system message says at the beginning of the user's message."""
    if not frame.system:
        return frame
    return replace(frame, system="", before_video=f"{frame.system.strip()}\n" + frame.before_video.lstrip())


def _render(template: str, messages: list[dict], add_generation_prompt: bool = True, **variables):
    # Here and not above: listing models needs the names of families, and should not wait for transformers.
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered, _ = render_jinja_template(
        [messages],
        chat_template=template,
        add_generation_prompt=add_generation_prompt,
        **variables,
    )
    return rendered[0]


def _template(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")
