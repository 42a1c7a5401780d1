"""The tokens that replace each marker in a prompt: placeholders, and LLaVA-Video's time instruction.

The instruction stands on a line of its own after the video. The line break that follows the marker is replaced along
with it, because tokenizers merge line breaks with what is before them.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

from transformers import PreTrainedTokenizerBase
from vllm.multimodal.processing import PromptReplacement, PromptUpdate, PromptUpdateDetails

from sfllava_plugin.prompts import VIDEO_MARKER
from sfllava_plugin.prompts.time_instruction import time_instruction
from sfllava_plugin.video.sampling import Sampling


class MarkerReplacements:
    """Write vLLM's replacements of the markers in a prompt.

    Args:
        marker: the id of ``<image>``; also of the placeholders.
        tokenizer: for the time instruction; None if the model has none.
        sampling: how frames are chosen, which decides on their times.
    """

    def __init__(self, marker: int, tokenizer: PreTrainedTokenizerBase | None, sampling: Sampling) -> None:
        self._marker, self._tokenizer, self._sampling = marker, tokenizer, sampling

    @cached_property
    def line_break(self) -> list[int]:
        """The tokens of the line break after a marker; none without a time instruction."""
        return self._tokenizer.encode("\n", add_special_tokens=False) if self._tokenizer else []

    def check(self, prompt: list[int]) -> None:
        """Refuse a prompt with a line break after some of its markers and not after others.

        vLLM would give a marker without one the next marker's video.

        Raises:
            ValueError: naming the marker.
        """
        end = len(self.line_break)
        follow = {
            prompt[at + 1 : at + 1 + end] == self.line_break for at, token in enumerate(prompt) if token == self._marker
        }
        if len(follow) > 1:
            raise ValueError(f"put a line break after each {VIDEO_MARKER} of the prompt, or after none")

    def updates(
        self, videos: Callable[[int], tuple[int, dict[str, Any]]], pictures: Callable[[int], int]
    ) -> Sequence[PromptUpdate]:
        """Replace markers by placeholders, with the line break after them if there is one.

        Both modalities match the same tokens, so that vLLM takes them in their order.

        Args:
            videos: the number of placeholders of a video, and its metadata.
            pictures: the number of placeholders of a picture.
        """

        def video(index: int, line_break: list[int]) -> PromptUpdateDetails:
            count, metadata = videos(index)
            return self._details(count, self._instruction(metadata) or line_break)

        def picture(index: int, line_break: list[int]) -> PromptUpdateDetails:
            return self._details(pictures(index), line_break)

        line_breaks = [self.line_break, []] if self._tokenizer else [[]]
        return [
            PromptReplacement(
                modality=modality,
                target=[self._marker, *line_break],
                replacement=partial(replacement, line_break=line_break),
            )
            for modality, replacement in (("video", video), ("image", picture))
            for line_break in line_breaks
        ]

    def _instruction(self, metadata: dict[str, Any]) -> list[int]:
        """Tokenise the time instruction of a video, with the line breaks around it."""
        if self._tokenizer is None or not metadata:
            return []
        total, fps, indices = (metadata[key] for key in ("total_num_frames", "fps", "frames_indices"))
        text = time_instruction(total, fps, indices, by_second=self._sampling == "second")
        return self._tokenizer.encode(f"\n{text}\n", add_special_tokens=False) if text else []

    def _details(self, count: int, text: list[int]) -> PromptUpdateDetails:
        return PromptUpdateDetails.select_token_id([self._marker] * count + text, self._marker)
