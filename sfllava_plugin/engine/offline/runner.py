"""Answer questions about videos and pictures with one vLLM engine.

Prompts come from the model directory's chat template and frames from `read_video`, exactly as in the server. Questions
on the same video run together: the video is decoded and encoded once, and they share its tokens in the prefix cache.
"""

import dataclasses
import itertools
import math
import os
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedTokenizerBase
from vllm import EngineArgs, RequestOutput, SamplingParams
from vllm.exceptions import VLLMClientError
from vllm.platforms import current_platform
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import RequestOutputKind

from sfllava_plugin import prompts
from sfllava_plugin.checkpoints.prepare import model_directory
from sfllava_plugin.checkpoints.prepared import CHAT_TEMPLATE, engine_defaults, manifest
from sfllava_plugin.checkpoints.video_config import VideoConfig
from sfllava_plugin.engine import explicit
from sfllava_plugin.engine.offline.feed import Bounds, Feeder
from sfllava_plugin.engine.offline.lifetime import Engine
from sfllava_plugin.engine.offline.order import QuestionQueue, by_video
from sfllava_plugin.engine.offline.plan import Item, Medium, QuestionPlanner, pictures_of
from sfllava_plugin.engine.offline.questions import Answer, Failure, Question, Score, Source
from sfllava_plugin.engine.offline.scoring import Scoring
from sfllava_plugin.engine.serving.video_loader import metadata, options_of
from sfllava_plugin.prompts.readings import READINGS

#: vLLM's cache of frames (17 MB for 50) for further questions on their video. Those follow directly here, and vLLM's
#: default of 4 GB would only fill up during a job. With the engine in this process, caching saves less: no frames are
#: sent to it.
FRAME_CACHE_GB = 0.125 if current_platform.is_cpu() else 1.0

_DEFAULTS = {"disable_log_stats": True, "use_tqdm_on_load": False, "mm_processor_cache_gb": FRAME_CACHE_GB}


class Runner:
    """A loaded model that answers questions.

    Args:
        model: an alias, a model directory, a checkpoint folder or a hub repository.
        engine_arguments: fields of vLLM's `EngineArgs`; the model directory has defaults for some of the others.

    Raises:
        CheckpointError, RegistryError: the model cannot be found or prepared.
        EngineStartError: the engine did not start.
        ValueError: vLLM does not have an engine argument, or refuses its value.
    """

    def __init__(self, model: str, engine_arguments: dict[str, Any] | None = None):
        directory = model_directory(model)
        engine_arguments = engine_arguments or {}
        known = {field.name for field in dataclasses.fields(EngineArgs)}
        if unknown := sorted(set(engine_arguments) - known):
            raise ValueError(f"unknown engine argument {unknown[0]!r}: see vllm serve --help")
        if current_platform.is_cpu():
            # On a CPU an engine in another process overlaps with nothing, and takes seconds to start. A user's own
            # setting wins.
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        self.model, self.directory = model, directory
        # The user's arguments come first, then the model's defaults, then ours.
        ours = {name: value for name, value in _DEFAULTS.items() if name not in engine_defaults(directory)}
        with explicit.declared(engine_arguments):
            self._engine = Engine(ours | engine_arguments | {"model": str(directory)})
        self.engine = self._engine.llm
        self._template = (directory / CHAT_TEMPLATE).read_text(encoding="utf-8")
        self.prompts = prompts.FAMILIES[manifest(directory)["prompts"]]
        # vLLM's protocol of tokenizers leaves out `bos_token` and `eos_token`.
        self._tokenizer = cast(PreTrainedTokenizerBase, self.engine.get_tokenizer())
        config = self.engine.llm_engine.model_config
        options = options_of(config)
        self.frames, self._limits = options.frames, options.limits
        self.video_config = VideoConfig.read(config.hf_config, config.model)
        self._bounds = self._bounds_of_engine()
        self._planner = QuestionPlanner(
            self.prompt_of,
            self._tokenizer,
            config.max_model_len * self._tokenizer.max_chars_per_token,
            self.video_config,
            self.frames,
            self._limits,
            block_size=self._block_size(),
            marker=config.hf_config.image_token_index,
        )

    def answer(self, question: Question) -> Answer:
        """Answer one question, greedily.

        Raises:
            EngineDied: the engine failed.
            VideoError: the video cannot be read.
            ValueError: the question does not fit the context, or has a continuation to score.
        """
        [(_, result)] = self.answers([question])
        if isinstance(result, Failure):
            raise result.error
        if isinstance(result, Score):
            raise ValueError("a continuation gets a score, not an answer: use `answers`")
        return result

    def answers(self, questions: Iterable[Question]) -> Generator[tuple[int, Answer | Score | Failure]]:
        """Answer many questions, greedily; yield (position, result) as they finish.

        Videos are decoded ahead of the engine, in order of first occurrence. The engine holds as many as its KV cache
        does, a few more are held decoded, and memory does not grow with the job. Close the generator to stop early: it
        aborts the unfinished questions.

        Raises:
            EngineDied: the engine failed; the results so far are valid.
        """
        return self._answers(by_video(questions, _video_of))

    def answers_by_video(self, videos: Iterable[Sequence[Question]]) -> Generator[tuple[int, Answer | Score | Failure]]:
        """Answer questions grouped by video, and take the groups lazily.

        A group is taken when its video can be decoded. Positions count across the groups.
        """
        positions = itertools.count()
        return self._answers([(next(positions), question) for question in group] for group in videos)

    def _answers(
        self, groups: Iterable[Sequence[tuple[int, Question]]]
    ) -> Generator[tuple[int, Answer | Score | Failure]]:
        planner = self._planner
        with QuestionQueue(groups, _video_of, planner, self._limits) as queue:
            feeder = Feeder(self._engine, queue, self._bounds, self._submit, self._finish, planner.cache_tokens)
            try:
                for item, result in feeder:
                    yield item.position, Failure(result) if isinstance(result, Exception) else result
            finally:
                feeder.stop()

    def _submit(self, item: Item) -> Scoring | None:
        """Submit a question to the engine.

        Raises:
            ValueError: it does not fit the context.
        """
        question, prompt = item.question, item.prompt
        if question.continuation is not None:
            scoring = Scoring(prompt.token_ids, prompt.continuation, reads_video=item.leads)
            self._add_request(item, *scoring.request())
            return scoring
        sampling = SamplingParams(
            temperature=0.0,
            max_tokens=question.max_tokens,
            logprobs=question.logprobs or None,
            # A leader's first output shows that its video is in the prefix cache.
            output_kind=RequestOutputKind.CUMULATIVE if item.leads else RequestOutputKind.FINAL_ONLY,
        )
        self._add_request(item, prompt.token_ids, sampling)
        return None

    def _add_request(self, item: Item, token_ids: list[int], sampling: SamplingParams) -> None:
        request = {"prompt_token_ids": token_ids} | _multi_modal(item.video)
        renderer = self.engine.renderer
        try:
            parsed = parse_model_prompt(self.engine.model_config, request)
            [rendered] = renderer.render_cmpl([parsed], renderer.default_cmpl_tok_params)
            self._engine.add_request(str(item.position), rendered, sampling)
        except VLLMClientError as problem:
            raise ValueError(str(problem)) from problem

    def _finish(self, item: Item, scoring: Scoring | None, output: RequestOutput) -> Answer | Score | None:
        """Make a question's result; None if it submitted another request."""
        if scoring is None:
            return self._answer(item, output)
        scoring.collect(output)
        if (logprobs := scoring.logprobs) is None:
            self._add_request(item, *scoring.request())
            return None
        return self._score(item, scoring, logprobs)

    def prompt_of(self, question: Question) -> str:
        """Write the whole prompt of a question, as in the server.

        Raises:
            ValueError: a picture in place of a video has options.
        """
        pictures = pictures_of(question.video)
        if pictures and question.options and not isinstance(question.video, tuple):
            raise ValueError("options need a video: list the options of a picture in the question")
        number = None if pictures is None else len(pictures)
        return self.prompt(question.text, question.options, question.prompt_frame, number)

    def close(self) -> None:
        """Shut the engine down."""
        self._engine.close()

    def _block_size(self) -> int:
        """Return the tokens in a block of the prefix cache (vllm/v1/core/kv_cache_utils.py)."""
        config = self.engine.llm_engine.vllm_config
        parallel = config.parallel_config
        ranks = parallel.decode_context_parallel_size * parallel.prefill_context_parallel_size
        return config.cache_config.block_size * ranks

    def _bounds_of_engine(self) -> Bounds:
        """Derive the admission limits from vLLM's caches and `max_num_seqs`."""
        config = self.engine.llm_engine.vllm_config
        scheduler, cache = config.scheduler_config, config.cache_config
        video_tokens = self.video_config.tokens(self.frames)
        capacity = (cache.num_gpu_blocks or 0) * cache.block_size
        videos_per_step = math.ceil(scheduler.max_num_batched_tokens / video_tokens)
        return Bounds(
            questions=2 * scheduler.max_num_seqs,
            # Leaves room for one more video.
            cache_tokens=capacity - video_tokens,
            leading=max(1, min(2 * videos_per_step, capacity // video_tokens // 2)),
            # One to spare: an engine in another process is a step ahead of its outputs here.
            embeddings=max(1, scheduler.encoder_cache_size // video_tokens - 1),
        )

    def prompt(
        self, text: str, options: Sequence[str] = (), prompt_frame: str | None = None, pictures: int | None = None
    ) -> str:
        """Write a prompt from its parts.

        Args:
            pictures: their number, in the place of a video.
        """
        return prompts.render(
            self._template,
            text,
            options,
            prompt_frame,
            pictures=pictures,
            bos_token=self._tokenizer.bos_token or "",
            eos_token=self._tokenizer.eos_token or "",
        )

    def _answer(self, item: Item, output: RequestOutput) -> Answer:
        [completion] = output.outputs
        assert output.prompt_token_ids is not None  # the prompt was given as tokens
        question, indices = item.question, _indices(item.video)
        first = completion.logprobs[0] if completion.logprobs else {}
        top = sorted(first.items(), key=lambda item: -item[1].logprob)[: question.logprobs]
        options = question.options
        return Answer(
            model=self.model,
            video=_written(question.video),
            frames=indices,
            slow_frames=self.video_config.layout.slow_frames(len(indices)) if indices else [],
            video_tokens=self._planner.tokens(item.video),
            prompt=item.prompt.text,
            prompt_token_ids=list(output.prompt_token_ids),
            token_ids=list(completion.token_ids),
            text=completion.text.strip(),
            answer=READINGS[self.prompts.reading](completion.text, options) if options else None,
            logprobs=[
                {"token_id": token, "token": found.decoded_token, "logprob": found.logprob} for token, found in top
            ],
        )

    def _score(self, item: Item, scoring: Scoring, logprobs: list[float]) -> Score:
        question = item.question
        return Score(
            model=self.model,
            video=_written(question.video),
            frames=_indices(item.video),
            prompt=item.prompt.text,
            prompt_token_ids=scoring.prompt,
            token_ids=scoring.continuation,
            logprobs=logprobs,
            is_greedy=scoring.is_greedy,
        )


def _video_of(question: Question) -> Source:
    return question.video


def _multi_modal(medium: Medium) -> dict[str, Any]:
    """A medium as vLLM takes it."""
    if isinstance(medium, tuple):
        # vLLM hashes pictures itself.
        return {"multi_modal_data": {"image": list(medium)}} if medium else {}
    video = medium.video
    return {
        "multi_modal_data": {"video": [(video.frames, metadata(video))]},
        "multi_modal_uuids": {"video": [medium.identifier]},
    }


def _indices(medium: Medium) -> list[int]:
    return [] if isinstance(medium, tuple) else list(medium.video.indices)


def _written(source: Source) -> str:
    return " ".join(str(Path(path)) for path in (source if isinstance(source, tuple) else (source,)))
