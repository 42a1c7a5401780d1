"""From a question to its frames and its tokens, and what questions on one video share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from sfllava_plugin.checkpoints.video_config import VideoConfig
from sfllava_plugin.engine.offline.order import Ready
from sfllava_plugin.engine.offline.questions import Question
from sfllava_plugin.engine.offline.sharing import Prompt, Sharing
from sfllava_plugin.limits import Limits
from sfllava_plugin.provenance import video_identity
from sfllava_plugin.video.frames import Video
from sfllava_plugin.video.isolated import read_video


@dataclass(frozen=True)
class Decoded:
    """A video's frames, and the name that vLLM's caches know it by."""

    video: Video
    identifier: str


class Plan:
    """Reads videos and writes prompts for `ReadyQuestions`.

    Args:
        write: the whole prompt of a question, as text.
        most_characters: longer prompts are refused before they are tokenised, as the server does.
        frames: taken from a video.
        block_size: tokens in a block of vLLM's prefix cache.
        marker: the token that marks a video.
    """

    def __init__(
        self,
        write: Callable[[Question], str],
        tokenizer: PreTrainedTokenizerBase,
        most_characters: int,
        video_config: VideoConfig,
        frames: int,
        limits: Limits,
        *,
        block_size: int,
        marker: int,
    ):
        self._write, self._tokenizer, self._most_characters = write, tokenizer, most_characters
        self._video_config, self._frames, self._limits = video_config, frames, limits
        self._block_size, self._marker = block_size, marker

    def read(self, path: str) -> Decoded:
        """Decode a video.

        Raises:
            VideoError: it cannot be read.
        """
        size = self._video_config.geometry.image_size
        video = read_video(path, num_frames=self._frames, image_size=size, limits=self._limits)
        return Decoded(video, video_identifier(path, self._frames))

    def prompt(self, question: Question) -> Prompt:
        """Write and tokenise the prompt of a question.

        Raises:
            ValueError: it has more characters than the context can hold.
        """
        text = self._write(question)
        token_ids = self._tokens(text)
        if question.continuation is None:
            return Prompt(text, token_ids, [])
        # Tokenised as one text: its tokens are those behind the prompt's.
        whole = self._tokens(text + question.continuation)
        return Prompt(text, whole[: len(token_ids)], whole[len(token_ids) :])

    def beginning(self, prompt: Prompt) -> tuple[int, ...]:
        """Tokens up to and including the video."""
        return prompt.beginning(self._marker)

    def needs_embeddings(self, video: Decoded, prompts: Sequence[Prompt]) -> bool:
        """Whether the prefix cache of these prompts ends inside the video."""
        return self._sharing(video).needs_embeddings(prompts)

    def cache_tokens(self, ready: Ready[Question, Prompt]) -> int:
        """Tokens that a question takes in the KV cache."""
        return self._sharing(ready.video).cache_tokens(ready.prompt, ready.leads)

    def _sharing(self, decoded: Decoded) -> Sharing:
        tokens = self._video_config.tokens(len(decoded.video.indices))
        return Sharing(self._marker, tokens, self._block_size)

    def _tokens(self, text: str) -> list[int]:
        # As the server does: a book is not worth the time to read it.
        if len(text) > self._most_characters:
            raise ValueError(
                f"the prompt has {len(text)} characters, the context holds {self._most_characters} at most"
            )
        return self._tokenizer(text, add_special_tokens=False).input_ids


def video_identifier(path: str, num_frames: int) -> str:
    """A video's path, size and age, and how many frames are taken.

    Raises:
        OSError: there is no such file.
    """
    return f"{video_identity(path)} {num_frames}"
