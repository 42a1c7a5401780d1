"""Our side: the runner, and its engine asked directly for single stages."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager

# Threads are not pinned, so that both sides use the same ones.
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

import torch
from vllm import RequestOutput, SamplingParams

from sfllava_plugin.engine.offline import Answer, Question, Runner
from sfllava_plugin.engine.serving.video_loader import metadata
from sfllava_plugin.video.decode import decode
from sfllava_plugin.video.frames import Video

QUESTION = "What happens in the video?"
_KEY = "benchmark"
_MULTIPROCESSING = "VLLM_ENABLE_V1_MULTIPROCESSING"


class OurModel:
    """The runner's engine, and the model inside it.

    Requests name the video's identifier instead of its frames: `remember` has it processed and encoded once, and no
    later timing includes that work.

    Args:
        inside: run the engine in this process, so that parts of the model can be called alone. Otherwise vLLM decides;
            on an accelerator it uses another process.
    """

    def __init__(self, checkpoint: str, dtype: str, *, inside: bool):
        settings = {
            "dtype": dtype,
            "kv_cache_memory_bytes": 2**30,
            "disable_log_stats": False,  # keeps the tokens' times
            # Compiling takes a minute on a CPU. Elsewhere the engine's default applies.
            "enforce_eager": not torch.accelerator.is_available(),
        }
        with _process_of_its_own(False if inside else None):
            self.runner = Runner(checkpoint, settings)
        self._engine = self.runner.engine
        self.model = self._engine.apply_model(lambda model: model)[0] if inside else None
        self.device = torch.device("cpu")
        if torch.accelerator.is_available():
            self.device = torch.accelerator.current_accelerator()
        self.dtype = getattr(torch, dtype)
        self._indices: dict[str, list[int]] = {}
        self._tokenizer = self._engine.get_tokenizer()
        self.marker = self._tokenizer.convert_tokens_to_ids("<image>")
        self.prompt = self.tokenise(QUESTION)

    def tokenise(self, question: str) -> list[int]:
        """Token ids of a question's whole prompt."""
        return self._tokenizer(self.runner.prompt(question), add_special_tokens=False).input_ids

    @torch.inference_mode()
    def video_tokens(self, frames: torch.Tensor) -> torch.Tensor:
        """Encode frames: uint8 [T, S, S, 3] -> [tokens, D]."""
        [tokens] = self.model.embed_multimodal(video_frames=[frames])
        return tokens

    def remember(self, video: Video) -> None:
        """Show the engine the video once, so that its embeddings are cached."""
        self._ask((video.frames, metadata(video)), 1)

    def prefill(self) -> RequestOutput:
        """Generate the first token, without a cached prompt."""
        self._engine.reset_prefix_cache()
        output = self._ask(None, 1)
        if output.num_cached_tokens:
            raise RuntimeError(f"prefill: {output.num_cached_tokens} tokens came from the cache")
        return output

    def generate(self, tokens: int) -> tuple[float, list[int]]:
        """Generate greedily; return seconds per further token, and all token ids."""
        output = self._ask(None, tokens + 1)
        times = output.metrics
        return (times.last_token_ts - times.first_token_ts) / tokens, list(output.outputs[0].token_ids)

    def close(self) -> None:
        """Shut the engine down."""
        self.runner.close()

    def forget(self) -> None:
        """Empty every cache."""
        self._engine.reset_prefix_cache()
        self._engine.reset_mm_cache()
        self._engine.llm_engine.engine_core.reset_encoder_cache()

    def answer_alone(self, question: Question) -> list[int]:
        """Answer one question without the runner: decode, generate, wait."""
        video = self.decoded(question.video, self.runner.video_config.geometry.image_size)
        request = {
            "prompt_token_ids": self.tokenise(question.text),
            "multi_modal_data": {"video": [(video.frames, metadata(video))]},
        }
        sampling = SamplingParams(temperature=0.0, max_tokens=question.max_tokens, logprobs=1)
        [output] = self._engine.generate(request, sampling, use_tqdm=False)
        return list(output.outputs[0].token_ids)

    def likely_answers(self, questions: list[Question]) -> list[Answer]:
        """Answer in order, with the likeliest first tokens; not timed."""
        asked = [dataclasses.replace(question, logprobs=5) for question in questions]
        answers = dict(self.runner.answers(asked))
        return [answers[position] for position in range(len(asked))]

    def indices(self, video: str) -> list[int]:
        """Indices of the source frames sampled from a video."""
        if video not in self._indices:
            self._indices[video] = list(self.decoded(video, 1).indices)
        return self._indices[video]

    def decoded(self, video: str, image_size: int) -> Video:
        """Decode a video as the model's settings say."""
        sampling = self.runner.video_config.sampling
        return decode(video, num_frames=self.runner.frames, image_size=image_size, sampling=sampling)

    def _ask(self, video, max_tokens: int) -> RequestOutput:
        sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True, logprobs=1)
        request = {
            "prompt_token_ids": self.prompt,
            "multi_modal_data": {"video": [video]},
            "multi_modal_uuids": {"video": [_KEY]},
        }
        [output] = self._engine.generate(request, sampling, use_tqdm=False)
        return output


@contextmanager
def _process_of_its_own(wanted: bool | None) -> Iterator[None]:
    """Give the engine its own process, or not; None leaves it alone."""
    before = os.environ.get(_MULTIPROCESSING)
    if wanted is not None:
        os.environ[_MULTIPROCESSING] = str(int(wanted))
    try:
        yield
    finally:
        os.environ.pop(_MULTIPROCESSING, None)
        if before is not None:
            os.environ[_MULTIPROCESSING] = before
