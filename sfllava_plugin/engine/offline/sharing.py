"""What the questions on one video share in vLLM's caches.

The prefix cache keeps whole blocks of tokens. Where the last block that all questions share ends inside the video, each
of them needs the video's embeddings again, and vLLM's encoder cache must still hold them (scheduler.py,
`_try_schedule_encoder_inputs`), or the tower runs once more.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Prompt:
    """A question's tokens, with one marker where its video goes.

    Attributes:
        text: the whole prompt, as the chat template writes it.
        token_ids: its tokens.
        continuation: tokens to score after it, if any.
    """

    text: str
    token_ids: list[int]
    continuation: list[int]

    def beginning(self, marker: int) -> tuple[int, ...]:
        """Tokens up to and including the video; prompts that differ here share nothing of it."""
        end = self.token_ids.index(marker) + 1 if marker in self.token_ids else len(self.token_ids)
        return tuple(self.token_ids[:end])


@dataclass(frozen=True)
class Sharing:
    """How vLLM caches a video: its marker, its length in tokens, and the length of a cache block."""

    marker: int
    video_tokens: int
    block_size: int

    def needs_embeddings(self, prompts: Sequence[Prompt]) -> bool:
        """Whether a question needs the video's embeddings after another one has read it.

        Args:
            prompts: all with the same beginning.
        """
        if len(prompts) < 2:
            return False
        shared = _common(prompt.token_ids for prompt in prompts)
        # vLLM always computes the last token of a prompt.
        shared = min(shared, *(len(prompt.token_ids) - 1 for prompt in prompts))
        beginning = len(prompts[0].beginning(self.marker))
        return self._in_blocks(shared - beginning + self._end(beginning)) < self._end(beginning)

    def cache_tokens(self, prompt: Prompt, leads: bool) -> int:
        """Tokens that a question takes in the KV cache: the leader the whole prompt, a follower its own part."""
        own = len(prompt.token_ids) + len(prompt.continuation)
        if leads:
            return self._in_blocks(own + self.video_tokens) + 2 * self.block_size
        return self._in_blocks(own - len(prompt.beginning(self.marker))) + 2 * self.block_size

    def _end(self, beginning: int) -> int:
        """Where the video ends, once its marker has become its tokens."""
        return beginning - 1 + self.video_tokens

    def _in_blocks(self, tokens: int) -> int:
        return tokens // self.block_size * self.block_size


def _common(prompts) -> int:
    """Length of the longest common beginning."""
    columns = zip(*prompts, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda tokens: len(set(tokens)) == 1, columns))
