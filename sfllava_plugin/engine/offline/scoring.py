"""How likely a given continuation is: what the engine is asked for, and what its outputs say.

A prompt's log-probabilities are known to vLLM where it reads the prompt itself, not where the prefix cache has it. So
the video is read first, by a request without them, and the continuation is read behind it, in one request. Tokens of it
that were in the cache already, because another continuation begins alike, are asked for singly.

It knows token ids and vLLM's requests. It does not know videos, prompts or the loop of the engine.
"""

from dataclasses import dataclass

from vllm import RequestOutput, SamplingParams
from vllm.logprobs import Logprob


@dataclass(frozen=True)
class _Found:
    """A token's log-probability, and whether greedy decoding would have chosen it."""

    logprob: float
    likeliest: bool


class Scoring:
    """One continuation on its way through the engine, a request at a time.

    Args:
        prompt, continuation: token ids, the continuation's at least one.
        reads_video: whether the engine has not read the video yet.

    Raises:
        ValueError: there is no continuation.
    """

    def __init__(self, prompt: list[int], continuation: list[int], *, reads_video: bool):
        if not continuation:
            raise ValueError("an empty continuation has no likelihood")
        self.prompt, self.continuation = prompt, continuation
        self._found: dict[int, _Found] = {}
        self._video_is_read, self._has_asked_whole = not reads_video, False

    @property
    def logprobs(self) -> list[float] | None:
        """Of every token of the continuation; None before all are known."""
        if len(self._found) < len(self.continuation):
            return None
        return [self._found[number].logprob for number in range(len(self.continuation))]

    @property
    def is_greedy(self) -> bool:
        """Whether greedy decoding would have given the continuation."""
        return all(found.likeliest for found in self._found.values())

    @property
    def _asks_whole(self) -> bool:
        """Whether the next request is for all tokens at once."""
        return self._video_is_read and not self._has_asked_whole

    def request(self) -> tuple[list[int], SamplingParams]:
        """The next request: its token ids and settings."""
        if self._asks_whole:
            settings = SamplingParams(
                temperature=0.0, max_tokens=1, prompt_logprobs=0, skip_reading_prefix_cache=False, detokenize=False
            )
            return self.prompt + self.continuation, settings
        number = self._missing()
        settings = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            logprobs=0,
            # Chooses the token; its log-probability is the one before anything was forbidden.
            allowed_token_ids=[self.continuation[number]],
            detokenize=False,
        )
        return self.prompt + self.continuation[:number], settings

    def take(self, output: RequestOutput) -> None:
        """What the last request found.

        Raises:
            ValueError: it found nothing.
        """
        if self._asks_whole:
            self._take_whole(output)
            self._has_asked_whole = True
            return
        [completion] = output.outputs
        before = len(self._found)
        self._note(self._missing(), completion.logprobs[0])
        if len(self._found) == before:
            raise ValueError("vLLM gave no log-probability for a token of the continuation")
        self._video_is_read = True

    def _take_whole(self, output: RequestOutput) -> None:
        first = len(self.prompt)
        for number in range(len(self.continuation)):
            # A token is known where the one before it was read, and not taken from the cache.
            if first + number > (output.num_cached_tokens or 0):
                self._note(number, output.prompt_logprobs[number - len(self.continuation)])

    def _note(self, number: int, candidates: dict[int, Logprob] | None) -> None:
        if found := (candidates or {}).get(self.continuation[number]):
            self._found[number] = _Found(found.logprob, found.rank == 1)

    def _missing(self) -> int:
        """The first token that is not known yet."""
        return next(number for number in range(len(self.continuation)) if number not in self._found)
