"""Write and render a model's chat template: the paper's wrappers inside the checkpoint's conversation format.

Every model directory has one template, which the server, the commands and Python all render. Besides the messages it
takes two arguments:

- ``prompt_frame``: ``open_ended`` (the default), ``multiple_choice``, ``none`` (video and text in the checkpoint's own
  conversation format, without a wrapper) or ``complete`` (the text is the whole prompt and marks the video itself);
- ``options``: texts, which become the lines ``(A) ...`` and make ``multiple_choice`` the default.

This module handles text only: no tokenizers, no videos, no vLLM.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import resources
from typing import Any, TypeAlias, cast

from sfllava_plugin.prompts.wrappers import FAMILIES, Wrapper

#: Stands for the video in a prompt.
VIDEO_MARKER = "<image>"

_RoleAndText: TypeAlias = tuple[str, str]


class PromptError(ValueError):
    """An unknown family, an unusable chat template, or arguments the template refuses."""


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
        special_tokens: the tokenizer's special tokens as text. In a message they stay text: the template puts a space
            after their first character.
        bos_token: the token the tokenizer puts before every text, or "".
        own_template: the checkpoint's own chat template (Jinja), for families without a packaged one.

    Raises:
        PromptError: the family is unknown, or needs the checkpoint's template and that is missing or does not work.
    """
    if family not in FAMILIES:
        raise PromptError(f"unknown prompts {family!r}: use one of {', '.join(FAMILIES)}")
    prompts = FAMILIES[family]
    if prompts.template:
        conversation = _template(prompts.template)
    elif own_template:
        conversation = own_template
    else:
        problem = "go inside the checkpoint's own chat template, and it has none: add its chat_template.jinja"
        raise PromptError(f"prompts {family!r} {problem}")
    own = _Conversation(conversation, bos_token)
    wrappers: dict[str, Any] = {
        kind: asdict(wrapper if own.takes_system else _without_system(wrapper)) | {"lead": own.lead(wrapper.answer)}
        for kind, wrapper in (
            ("open_ended", prompts.open_ended),
            ("multiple_choice", prompts.multiple_choice),
        )
    }
    wrappers |= {"conversation": prompts.conversation}
    # Longest first, so that a token is broken up before the tokens inside it are found.
    tokens = sorted(set(special_tokens), key=lambda token: (-len(token), token))
    blanks = {
        "@WRAPPERS@": json.dumps(wrappers),
        "@SPECIAL_TOKENS@": json.dumps(tokens),
        "@BOS@": json.dumps(bos_token),
        "@CONVERSATION_BOS@": json.dumps("" if own.writes_bos else bos_token),
        "@TEXT_PARTS@": "true" if own.takes_parts else "false",
        "@CONVERSATION@": conversation.strip("\n"),
    }
    return re.sub("|".join(blanks), lambda match: blanks[match[0]], _template("wrapper.jinja"))


def render(
    template: str,
    question: str,
    options: Sequence[str] | None = None,
    prompt_frame: str | None = None,
    *,
    pictures: int | None = None,
    bos_token: str = "",
    eos_token: str = "",
) -> str:
    """Write the whole prompt for one question about one video, with `VIDEO_MARKER` in the video's place.

    Args:
        pictures: their number, in the place of a video; each gets a marker, and the question no wrapper.

    Raises:
        PromptError: there are more than 26 options, or no such ``prompt_frame``.
    """
    from jinja2 import TemplateError

    media = [{"type": "video"}] if pictures is None else [{"type": "image"}] * pictures
    content = [*media, {"type": "text", "text": question}]
    try:
        return _render(
            template,
            [{"role": "user", "content": content}],
            options=list(options or []),
            prompt_frame=prompt_frame,
            bos_token=bos_token,
            eos_token=eos_token,
        )
    except TemplateError as error:
        raise PromptError(str(error)) from error


class _Conversation:
    """The properties of a checkpoint's own chat template, found by rendering it.

    Attributes:
        takes_parts: a message's content must be a list of parts, not a string.
        takes_system: a system message is rendered.
        writes_bos: the prompt begins with the tokenizer's leading token.
    """

    _USER, _SYSTEM, _REPLY = "user-probe", "system-probe", "reply-probe"

    def __init__(self, template: str, bos_token: str):
        self._template, self._bos_token = template, bos_token
        self.takes_parts = self._USER not in (self._try(parts=False) or "")
        prompt = self._try()
        if prompt is None or self._USER not in prompt:
            raise PromptError("the checkpoint's chat template renders no user message")
        self.writes_bos = bool(bos_token) and prompt.startswith(bos_token)
        self.takes_system = self._SYSTEM in (self._try(before=("system", self._SYSTEM)) or "")
        self._prompt = prompt

    def lead(self, answer: str) -> str:
        """Return the text between the prompt and a reply that begins with ``answer``, which the prompt itself lacks.

        Some templates write a space between the generation prompt and the reply.
        """
        prompt, replied = self._prompt, self._try(after=("assistant", answer + self._REPLY)) or ""
        lead = replied[len(prompt) :].partition(answer.lstrip() + self._REPLY)[0]
        lead = lead.removesuffix(answer[: len(answer) - len(answer.lstrip())])
        return lead if replied.startswith(prompt) else ""

    def _try(
        self, before: _RoleAndText | None = None, after: _RoleAndText | None = None, parts: bool | None = None
    ) -> str | None:
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


def _without_system(wrapper: Wrapper) -> Wrapper:
    """Move the system message to the start of the user's message."""
    if not wrapper.system:
        return wrapper
    return replace(wrapper, system="", before_video=f"{wrapper.system.strip()}\n" + wrapper.before_video.lstrip())


def _render(template: str, messages: list[dict[str, Any]], add_generation_prompt: bool = True, **variables: Any) -> str:
    # Imported here because listing models needs the families' names, not transformers.
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered = render_jinja_template(
        [messages],
        chat_template=template,
        add_generation_prompt=add_generation_prompt,
        **variables,
    )
    texts, _ = cast(tuple[list[str], object], rendered)  # transformers declares a single text
    return texts[0]


def _template(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")
