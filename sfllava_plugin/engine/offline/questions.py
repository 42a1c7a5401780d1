"""What a runner is asked, and what it answers. Importing this loads neither vLLM nor torch."""

from dataclasses import dataclass
from typing import Any

#: What the released demo generates.
DEFAULT_MAX_TOKENS = 256


@dataclass(frozen=True)
class Question:
    """One question about one video (a file, or a folder of images).

    ``options`` make it multiple choice. ``prompt_frame`` chooses another prompt than these imply (see prompts.py). With
    a ``continuation`` nothing is generated: how likely it is behind the prompt is the answer, a `Score`. ``logprobs``
    asks for the likeliest tokens at the first place of the answer, at a cost for every token of it.
    """

    video: str
    text: str
    options: tuple[str, ...] = ()
    max_tokens: int = DEFAULT_MAX_TOKENS
    prompt_frame: str | None = None
    continuation: str | None = None
    logprobs: int = 0


@dataclass(frozen=True)
class Answer:
    """An answer and everything it came from; `sfllava ask --json` prints it."""

    model: str
    video: str
    frames: list[int]
    slow_frames: list[int]
    video_tokens: int
    prompt: str
    prompt_token_ids: list[int]
    token_ids: list[int]
    text: str
    answer: str | None
    logprobs: list[dict[str, Any]]


@dataclass(frozen=True)
class Score:
    """How likely a continuation is: the log-probability of each of its tokens, and what they came from."""

    model: str
    video: str
    frames: list[int]
    prompt: str
    prompt_token_ids: list[int]
    token_ids: list[int]
    logprobs: list[float]
    is_greedy: bool


@dataclass(frozen=True)
class Failure:
    """Why a question has no answer: its video cannot be read, or it does not fit the context."""

    error: Exception
