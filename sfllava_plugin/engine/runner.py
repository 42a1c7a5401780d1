"""Questions in, answers out: one vLLM engine and the way every question takes to it.

A question becomes the prompt that the model directory's chat template writes, and a video becomes frames by frames.py,
exactly as in the server. Questions on the same video are asked together: it is decoded and encoded once, and they share
its place in the prefix cache. It does not know files of questions or benchmarks.
"""

import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vllm import LLM, EngineArgs, RequestOutput, SamplingParams
from vllm.exceptions import VLLMClientError
from vllm.platforms import current_platform
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import RequestOutputKind

from sfllava_plugin import checkpoints, prompts
from sfllava_plugin.decoding import read_video
from sfllava_plugin.engine.flow import Bounds, Flow
from sfllava_plugin.engine.questions import Answer, Failure, Question, Score
from sfllava_plugin.engine.ready import Ready, ReadyQuestions
from sfllava_plugin.engine.scoring import Scoring
from sfllava_plugin.engine.settings import VideoSettings
from sfllava_plugin.engine.video_loader import SETTINGS, metadata
from sfllava_plugin.frames import Video
from sfllava_plugin.model_directory import CHAT_TEMPLATE
from sfllava_plugin.pathways import SlowFast
from sfllava_plugin.pooling import slow_indices

#: vLLM keeps this much of videos' frames for further questions on them, 17 MB for 50 frames. Questions on a video come
#: after one another here: vLLM's own 4 GB would only fill as the job goes on. Where the engine is in this process,
#: keeping saves less, for nothing is sent.
FRAME_CACHE_GB = 0.125 if current_platform.is_cpu() else 1.0
_TOP_LOGPROBS = 5


@dataclasses.dataclass(frozen=True)
class _Decoded:
    """A video's frames, and what vLLM's caches know them by."""

    video: Video
    identifier: str


class Runner:
    """An engine, loaded once.

    Args:
        model: an alias, a model directory, a checkpoint folder or a hub repository.
        engine_arguments: vLLM's `EngineArgs` by name; what is not given comes from the model directory.

    Raises:
        CheckpointError, RegistryError: the model cannot be found or prepared.
        ValueError: an engine argument that vLLM does not have, or a setting it refuses.
    """

    def __init__(self, model: str, engine_arguments: dict[str, Any] | None = None):
        directory = checkpoints.model_directory(model)
        known = {field.name for field in dataclasses.fields(EngineArgs)}
        if unknown := sorted(set(engine_arguments or {}) - known):
            raise ValueError(f"unknown engine argument {unknown[0]!r}: see vllm serve --help")
        if current_platform.is_cpu():
            # Without an accelerator the engine leaves a second process nothing to overlap with, and it takes seconds to
            # start. A user's own setting wins.
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        defaults = {"disable_log_stats": True, "use_tqdm_on_load": False, "mm_processor_cache_gb": FRAME_CACHE_GB}
        self.model, self.directory = model, directory
        self.engine = LLM(**defaults | (engine_arguments or {}) | {"model": str(directory)})
        self._template = (directory / CHAT_TEMPLATE).read_text(encoding="utf-8")
        self._tokenizer = self.engine.get_tokenizer()
        config = self.engine.llm_engine.model_config
        self._most_characters = config.max_model_len * self._tokenizer.max_chars_per_token
        loader = config.multimodal_config.media_io_kwargs["video"][SETTINGS]
        self.frames, self._limits = loader.frames, loader.limits
        self.settings = VideoSettings.read(config.hf_config)
        self._bounds = self._bounds_of_engine()
        self._marker_is_a_word = config.hf_config.image_token_index < config.get_vocab_size()

    def answer(self, question: Question) -> Answer:
        """Answer one question, greedily.

        Raises:
            VideoError: the video cannot be read.
            ValueError: the question does not fit the context.
        """
        [(_, result)] = self.answers([question])
        if isinstance(result, Failure):
            raise result.error
        return result

    def answers(self, questions: Iterable[Question]) -> Iterator[tuple[int, Answer | Score | Failure]]:
        """Answer many questions, greedily: (position of the question, its answer) as they finish.

        Videos are decoded ahead of the engine, in the order in which they first occur; as many of them as its KV cache
        holds are in the engine, and a few wait there, so that memory does not grow with the job. To stop early, close
        the generator: what the engine has not finished is dropped.
        """
        with ReadyQuestions(questions, _video, _beginning, self._read, self._limits) as ready:
            flow = Flow(self.engine.llm_engine, ready, self._bounds, self._ask, self._finish)
            try:
                for asked, result in flow:
                    yield asked.position, Failure(result) if isinstance(result, Exception) else result
            finally:
                flow.stop()

    def _read(self, path: str) -> _Decoded:
        video = read_video(path, num_frames=self.frames, image_size=self.settings.image_size, limits=self._limits)
        return _Decoded(video, video_identifier(path, self.frames))

    def _ask(self, asked: Ready[Question]) -> Scoring | None:
        """Hand a question to the engine.

        Raises:
            ValueError: it is too long.
        """
        question = asked.question
        prompt = self._tokens(self._prompt_of(question))
        if question.continuation is not None:
            whole = self._tokens(self._prompt_of(question) + question.continuation)
            # Tokenised as one text: its tokens are those behind the prompt's.
            prompt, continuation = whole[: len(prompt)], whole[len(prompt) :]
            scoring = Scoring(prompt, continuation, reads_video=asked.leads, singly=not self._marker_is_a_word)
            self._submit(asked, *scoring.request())
            return scoring
        sampling = SamplingParams(
            temperature=0.0,
            max_tokens=question.max_tokens,
            logprobs=_TOP_LOGPROBS,
            # The first sign of an answer says that its video is in the prefix cache.
            output_kind=RequestOutputKind.CUMULATIVE if asked.leads else RequestOutputKind.FINAL_ONLY,
        )
        self._submit(asked, prompt, sampling)
        return None

    def _submit(self, asked: Ready[Question], token_ids: list[int], sampling: SamplingParams) -> None:
        video = asked.video.video
        request = {
            "prompt_token_ids": token_ids,
            "multi_modal_data": {"video": [(video.frames, metadata(video))]},
            "multi_modal_uuids": {"video": [asked.video.identifier]},
        }
        renderer = self.engine.renderer
        try:
            parsed = parse_model_prompt(self.engine.model_config, request)
            [rendered] = renderer.render_cmpl([parsed], renderer.default_cmpl_tok_params)
            self.engine.llm_engine.add_request(str(asked.position), rendered, sampling)
        except VLLMClientError as problem:
            raise ValueError(str(problem)) from problem

    def _finish(self, asked: Ready[Question], scoring: Scoring | None, output: RequestOutput) -> Answer | Score | None:
        """What a question comes to; None where its score takes another request, which is then in the engine."""
        if scoring is None:
            return self._answer(asked, output)
        scoring.take(output)
        if scoring.logprobs is None:
            self._submit(asked, *scoring.request())
            return None
        return self._score(asked, scoring)

    def _tokens(self, text: str) -> list[int]:
        # As the server does: a book is not worth the time to read it.
        if len(text) > self._most_characters:
            raise ValueError(
                f"the prompt has {len(text)} characters, the context holds {self._most_characters} at most"
            )
        return self._tokenizer(text, add_special_tokens=False).input_ids

    def _prompt_of(self, question: Question) -> str:
        return self.prompt(question.text, question.options, question.prompt_frame)

    def close(self) -> None:
        """Shut the engine down."""
        self.engine.llm_engine.engine_core.shutdown()

    def _bounds_of_engine(self) -> Bounds:
        """How much the engine is given at once, from what it runs at once."""
        config = self.engine.llm_engine.vllm_config
        scheduler, cache = config.scheduler_config, config.cache_config
        video_tokens = self.settings.video_tokens(self.frames)
        in_cache = max(1, (cache.num_gpu_blocks or 0) * cache.block_size // video_tokens)
        a_step = math.ceil(scheduler.max_num_batched_tokens / video_tokens)
        leading = max(1, min(2 * a_step, in_cache // 2))
        return Bounds(questions=2 * scheduler.max_num_seqs, videos=in_cache + leading, leading=leading)

    def prompt(self, text: str, options: Sequence[str] = (), prompt_frame: str | None = None) -> str:
        """The whole prompt of a question, as the server's chat template writes it."""
        return prompts.render(
            self._template,
            text,
            options,
            prompt_frame,
            bos_token=self._tokenizer.bos_token or "",
            eos_token=self._tokenizer.eos_token or "",
        )

    def _answer(self, asked: Ready[Question], output: RequestOutput) -> Answer:
        [completion] = output.outputs
        question, indices = asked.question, list(asked.video.video.indices)
        pathways = self.settings.pathways
        slow = slow_indices(len(indices), pathways.slow.frames) if isinstance(pathways, SlowFast) else []
        first = completion.logprobs[0] if completion.logprobs else {}
        top = sorted(first.items(), key=lambda item: -item[1].logprob)[:_TOP_LOGPROBS]
        options = question.options
        return Answer(
            model=self.model,
            video=str(Path(question.video)),
            frames=indices,
            slow_frames=slow,
            video_tokens=self.settings.video_tokens(len(indices)),
            prompt=self._prompt_of(question),
            prompt_token_ids=list(output.prompt_token_ids),
            token_ids=list(completion.token_ids),
            text=completion.text.strip(),
            answer=prompts.read_choice(completion.text, options) if options else None,
            logprobs=[
                {"token_id": token, "token": found.decoded_token, "logprob": found.logprob} for token, found in top
            ],
        )

    def _score(self, asked: Ready[Question], scoring: Scoring) -> Score:
        question = asked.question
        return Score(
            model=self.model,
            video=str(Path(question.video)),
            frames=list(asked.video.video.indices),
            prompt=self._prompt_of(question),
            prompt_token_ids=scoring.prompt,
            token_ids=scoring.continuation,
            logprobs=scoring.logprobs,
            is_greedy=scoring.is_greedy,
        )


def _video(question: Question) -> str:
    return question.video


def _beginning(question: Question) -> tuple[bool, str]:
    """What decides how a prompt begins, before the video: whether it is multiple choice, and a chosen frame."""
    return bool(question.options), question.prompt_frame or ""


def video_identifier(path: str, num_frames: int) -> str:
    """The file, its age and size (of a folder, those of the files in it), and how many frames are taken.

    Raises:
        OSError: there is no such file.
    """
    place = Path(path)
    parts = sorted(place.iterdir()) if place.is_dir() else [place]
    stats = [(part.name, part.stat().st_size, part.stat().st_mtime_ns) for part in parts]
    return f"{place.absolute()} {stats} {num_frames}"
