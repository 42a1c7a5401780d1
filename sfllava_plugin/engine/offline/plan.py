"""Turn questions into frames, pictures and token ids."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from PIL import Image
from transformers import PreTrainedTokenizerBase

from sfllava_plugin.checkpoints.video_config import VideoConfig
from sfllava_plugin.engine.offline.order import FailedItem, QueueItem
from sfllava_plugin.engine.offline.questions import Question, Source
from sfllava_plugin.engine.offline.sharing import CachedVideo, Prompt
from sfllava_plugin.limits import Limits
from sfllava_plugin.provenance import video_identity
from sfllava_plugin.video.decode import is_picture, open_image
from sfllava_plugin.video.frames import Video
from sfllava_plugin.video.isolated import read_video


@dataclass(frozen=True)
class IdentifiedVideo:
    """A video's frames, and its key in vLLM's caches."""

    video: Video
    identifier: str


#: Pictures of any size, in the place of a video.
Pictures = tuple[Image.Image, ...]
Medium = IdentifiedVideo | Pictures
Item = QueueItem[Question, Medium, Prompt]
#: Its video cannot be read, or its prompt is too long.
Failed = FailedItem[Question]


def pictures_of(source: Source) -> tuple[str, ...] | None:
    """List the files of pictures; None for a video."""
    if isinstance(source, tuple):
        return source
    return (source,) if is_picture(source) else None


class QuestionPlanner:
    """The `Planner` of a runner: decodes videos, opens pictures and writes prompts.

    Args:
        write: writes the whole prompt of a question, as text.
        max_characters: longer prompts are refused before they are tokenised, as in the server.
        frames: the number taken from a video.
        block_size: tokens in a block of vLLM's prefix cache.
        marker: the token which stands for a video.
    """

    def __init__(
        self,
        write: Callable[[Question], str],
        tokenizer: PreTrainedTokenizerBase,
        max_characters: int,
        video_config: VideoConfig,
        frames: int,
        limits: Limits,
        *,
        block_size: int,
        marker: int,
    ):
        self._write, self._tokenizer, self._max_characters = write, tokenizer, max_characters
        self._video_config, self._frames, self._limits = video_config, frames, limits
        self._block_size, self._marker = block_size, marker
        # Asked for with every question.
        self._video_tokens = functools.cache(video_config.tokens)

    def read(self, source: Source) -> Medium:
        """Decode a video, or open pictures.

        Raises:
            VideoError: it cannot be read.
        """
        if (pictures := pictures_of(source)) is not None:
            return tuple(open_image(Path(path), self._limits) for path in pictures)
        path = cast(str, source)
        video = read_video(
            path,
            num_frames=self._frames,
            image_size=self._video_config.geometry.image_size,
            sampling=self._video_config.sampling,
            fit=self._video_config.frame_fit,
            limits=self._limits,
        )
        return IdentifiedVideo(video, video_identifier(path, self._frames))

    def prompt(self, question: Question) -> Prompt:
        """Write and tokenise the prompt of a question.

        Raises:
            ValueError: it has more characters than the context can hold.
        """
        text = self._write(question)
        token_ids = self._tokens(text)
        if question.continuation is None:
            return Prompt(text, token_ids, [])
        # Prompt and continuation are tokenised as one text. The continuation gets the tokens past the prompt's.
        whole = self._tokens(text + question.continuation)
        return Prompt(text, whole[: len(token_ids)], whole[len(token_ids) :])

    def tokens(self, medium: Medium) -> int:
        """Count the tokens of a video, or of all pictures."""
        if isinstance(medium, IdentifiedVideo):
            return self._video_tokens(len(medium.video.indices))
        count, several = self._video_config.picture_tokens, len(medium) > 1
        return sum(count((image.height, image.width), several=several) for image in medium)

    def prefix(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the tokens through the video, or through the last picture."""
        return prompt.prefix(self._marker)

    def needs_embeddings(self, video: Medium, prompts: Sequence[Prompt]) -> bool:
        """Tell whether the cached prefix of these prompts ends inside the video."""
        return self._cached(video).needs_embeddings(prompts)

    def cache_tokens(self, item: Item) -> int:
        """Bound a question's tokens in the KV cache."""
        return self._cached(item.video).cache_tokens(item.prompt, item.leads)

    def _cached(self, medium: Medium) -> CachedVideo:
        markers = len(medium) if isinstance(medium, tuple) else 1
        return CachedVideo(self._marker, self.tokens(medium) - (markers - 1), self._block_size)

    def _tokens(self, text: str) -> list[int]:
        if len(text) > self._max_characters:
            raise ValueError(f"the prompt has {len(text)} characters, the context holds at most {self._max_characters}")
        token_ids: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return token_ids


def video_identifier(path: str, num_frames: int) -> str:
    """Return a video's key in vLLM's caches.

    It holds the path, size, modification time and number of frames.

    Raises:
        OSError: there is no such file.
    """
    return f"{video_identity(path)} {num_frames}"
