"""Compute what questions on one video share in vLLM's caches.

The prefix cache holds whole blocks of tokens. If the last block that all questions share ends inside the video, each
question needs the video's embeddings again. Either vLLM's encoder cache still holds them, or the tower runs once more
(`_try_schedule_encoder_inputs` in vllm/v1/core/sched/scheduler.py).
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Prompt:
    """A question's tokens, with a marker for its video or each picture.

    Attributes:
        text: the whole prompt, from the chat template.
        token_ids: of the prompt.
        continuation: token ids to score after the prompt, if any.
    """

    text: str
    token_ids: list[int]
    continuation: list[int]

    def prefix(self, marker: int) -> tuple[int, ...]:
        """Return the tokens through the video, or through the last picture."""
        last = next((at for at in reversed(range(len(self.token_ids))) if self.token_ids[at] == marker), None)
        return tuple(self.token_ids if last is None else self.token_ids[: last + 1])


@dataclass(frozen=True)
class CachedVideo:
    """A video in vLLM's prefix cache.

    Attributes:
        marker: the token which stands for the video in a prompt.
        video_tokens: the number of tokens that replace it; with pictures, those that replace the last marker if the
            others stay.
        block_size: tokens in a block of the cache.
    """

    marker: int
    video_tokens: int
    block_size: int

    def needs_embeddings(self, prompts: Sequence[Prompt]) -> bool:
        """Tell whether later questions need the video's embeddings again.

        Args:
            prompts: all with the same prefix.
        """
        if len(prompts) < 2:
            return False
        shared = _shared_length(prompt.token_ids for prompt in prompts)
        # vLLM always computes the last token of a prompt.
        shared = min(shared, *(len(prompt.token_ids) - 1 for prompt in prompts))
        prefix = len(prompts[0].prefix(self.marker))
        return self._whole_blocks(shared - prefix + self._end(prefix)) < self._end(prefix)

    def cache_tokens(self, prompt: Prompt, leads: bool) -> int:
        """Bound a question's tokens in the KV cache.

        A leader takes its whole prompt, a follower its text after the video.
        """
        own = len(prompt.token_ids) + len(prompt.continuation)
        if leads:
            return self._whole_blocks(own + self.video_tokens) + 2 * self.block_size
        return self._whole_blocks(own - len(prompt.prefix(self.marker))) + 2 * self.block_size

    def _end(self, prefix: int) -> int:
        """Return the position after the video's tokens, in place of the marker."""
        return prefix - 1 + self.video_tokens

    def _whole_blocks(self, tokens: int) -> int:
        return tokens // self.block_size * self.block_size


def _shared_length(prompts: Iterable[Sequence[int]]) -> int:
    columns = zip(*prompts, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda tokens: len(set(tokens)) == 1, columns))
