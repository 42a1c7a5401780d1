"""Score a given continuation: make the requests, and collect log-probabilities.

vLLM returns log-probabilities only for prompt tokens that it computes, not for those in the prefix cache. So a first
request reads the video, without asking for those of the prompt, and a second reads the continuation after it. Tokens
that are cached already, because another continuation begins with the same ones, take a request each.
"""

from dataclasses import dataclass

from vllm import RequestOutput, SamplingParams
from vllm.logprobs import Logprob


@dataclass(frozen=True)
class _TokenScore:
    """A token's log-probability; ``is_greedy`` if greedy decoding would choose the token."""

    logprob: float
    is_greedy: bool


class Scoring:
    """The requests that score one continuation, one at a time.

    Args:
        prompt, continuation: token ids; at least one in the continuation.
        reads_video: the engine has not read the video yet.

    Raises:
        ValueError: the continuation is empty.
    """

    def __init__(self, prompt: list[int], continuation: list[int], *, reads_video: bool):
        if not continuation:
            raise ValueError("an empty continuation has no likelihood")
        self.prompt, self.continuation = prompt, continuation
        self._scores: dict[int, _TokenScore] = {}
        self._video_is_read, self._has_scored_whole = not reads_video, False

    @property
    def logprobs(self) -> list[float] | None:
        """Of each token of the continuation; None until all are known."""
        if len(self._scores) < len(self.continuation):
            return None
        return [self._scores[number].logprob for number in range(len(self.continuation))]

    @property
    def is_greedy(self) -> bool:
        """True if greedy decoding would generate the continuation."""
        return all(score.is_greedy for score in self._scores.values())

    @property
    def _scores_whole(self) -> bool:
        """True if the next request scores all tokens at once."""
        return self._video_is_read and not self._has_scored_whole

    def request(self) -> tuple[list[int], SamplingParams]:
        """Return the next request: its token ids and sampling parameters."""
        if self._scores_whole:
            settings = SamplingParams(
                temperature=0.0, max_tokens=1, prompt_logprobs=0, skip_reading_prefix_cache=False, detokenize=False
            )
            return self.prompt + self.continuation, settings
        number = self._missing()
        settings = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            logprobs=0,
            # Forces the token. vLLM computes its log-probability before it applies this restriction.
            allowed_token_ids=[self.continuation[number]],
            detokenize=False,
        )
        return self.prompt + self.continuation[:number], settings

    def collect(self, output: RequestOutput) -> None:
        """Collect the scores in the output of the last request.

        Raises:
            ValueError: there is none.
        """
        if self._scores_whole:
            self._collect_whole(output)
            self._has_scored_whole = True
            return
        [completion] = output.outputs
        before = len(self._scores)
        self._add(self._missing(), completion.logprobs[0] if completion.logprobs else None)
        if len(self._scores) == before:
            raise ValueError("vLLM returned no log-probability for a token of the continuation")
        self._video_is_read = True

    def _collect_whole(self, output: RequestOutput) -> None:
        first, logprobs = len(self.prompt), output.prompt_logprobs
        assert logprobs is not None  # `request` asks for them
        for number in range(len(self.continuation)):
            # vLLM scores a token if it computed the one before, instead of finding that in the cache.
            if first + number > (output.num_cached_tokens or 0):
                self._add(number, logprobs[number - len(self.continuation)])

    def _add(self, number: int, candidates: dict[int, Logprob] | None) -> None:
        if found := (candidates or {}).get(self.continuation[number]):
            self._scores[number] = _TokenScore(found.logprob, found.rank == 1)

    def _missing(self) -> int:
        """Return the position of the first token without a score."""
        return next(number for number in range(len(self.continuation)) if number not in self._scores)
