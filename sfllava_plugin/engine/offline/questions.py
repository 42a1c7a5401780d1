"""Questions for a runner, and its results; no vLLM, no torch."""

from dataclasses import dataclass
from typing import Any

#: A video: a file, or a folder of images. In its place, a picture, or the files of any number of pictures.
Source = str | tuple[str, ...]

#: As in the released demo.
DEFAULT_MAX_TOKENS = 256


@dataclass(frozen=True)
class Question:
    """A question about one video, about pictures, or about neither.

    Attributes:
        video: a file, or a folder of images; in its place a picture, a tuple of picture files, or () for text alone.
            None of these gets a wrapper around the text.
        options: make the question multiple choice. With pictures, the text must list them.
        max_tokens: of the answer.
        prompt_frame: the wrapper of the text, if not the one that ``options`` imply (prompts/template.py).
        continuation: a text to score. Nothing is generated: the result is a `Score` of the text as the answer.
        logprobs: the number of likeliest tokens to return for the first token of the answer. vLLM computes them for
            every token, which slows down generation.
    """

    video: Source
    text: str
    options: tuple[str, ...] = ()
    max_tokens: int = DEFAULT_MAX_TOKENS
    prompt_frame: str | None = None
    continuation: str | None = None
    logprobs: int = 0


@dataclass(frozen=True)
class Answer:
    """An answer and its origin, as `sfllava ask --json` prints them.

    Attributes:
        video: its path; those of pictures, with spaces between.
        frames: indices of the sampled source frames.
        slow_frames: indices into ``frames`` of those on the slow path.
        video_tokens: of the video or the pictures.
        answer: the letter of the chosen option; None if there are no options or the text names none of them.
        logprobs: the likeliest tokens in the first place of the answer, the likeliest first.
    """

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
    """The log-probabilities of a continuation, and their origin.

    Attributes:
        token_ids: of the continuation.
        logprobs: natural logarithms, one per token.
        is_greedy: greedy decoding would have generated the continuation.
    """

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
    """The error in place of an answer: unreadable video, question too long."""

    error: Exception
