"""Questions in, answers out: one vLLM engine and the way every question takes to it.

A question becomes the prompt that the model directory's chat template writes, and a video becomes frames by frames.py,
exactly as in the server. Questions on the same video are asked together: it is decoded and encoded once, and they share
its place in the prefix cache. It does not know files of questions or benchmarks.
"""

import dataclasses
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vllm import EngineArgs, RequestOutput, SamplingParams
from vllm.exceptions import VLLMClientError
from vllm.platforms import current_platform
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import RequestOutputKind

from sfllava_plugin import prompts
from sfllava_plugin.checkpoints.prepare import model_directory
from sfllava_plugin.checkpoints.prepared import CHAT_TEMPLATE, engine_defaults
from sfllava_plugin.engine import explicit
from sfllava_plugin.engine.offline.feed import Bounds, Flow
from sfllava_plugin.engine.offline.lifetime import Engine
from sfllava_plugin.engine.offline.order import Ready, ReadyQuestions, by_video
from sfllava_plugin.engine.offline.plan import Plan
from sfllava_plugin.engine.offline.questions import Answer, Failure, Question, Score
from sfllava_plugin.engine.offline.scoring import Scoring
from sfllava_plugin.engine.offline.sharing import Prompt
from sfllava_plugin.engine.serving.video_loader import SETTINGS, metadata
from sfllava_plugin.prompts.choices import read_choice
from sfllava_plugin.tokens.geometry import VideoSettings
from sfllava_plugin.tokens.notation import SlowFast
from sfllava_plugin.tokens.pooling import slow_indices

#: vLLM keeps this much of videos' frames for further questions on them, 17 MB for 50 frames. Questions on a video come
#: after one another here: vLLM's own 4 GB would only fill as the job goes on. Where the engine is in this process,
#: keeping saves less, for nothing is sent.
FRAME_CACHE_GB = 0.125 if current_platform.is_cpu() else 1.0

_DEFAULTS = {"disable_log_stats": True, "use_tqdm_on_load": False, "mm_processor_cache_gb": FRAME_CACHE_GB}

#: A question on its way through the engine.
Asked = Ready[Question, Prompt]


class Runner:
    """An engine, loaded once.

    Args:
        model: an alias, a model directory, a checkpoint folder or a hub repository.
        engine_arguments: vLLM's `EngineArgs` by name; what is not given comes from the model directory.

    Raises:
        CheckpointError, RegistryError: the model cannot be found or prepared.
        EngineStartError: the engine did not start.
        ValueError: an engine argument that vLLM does not have, or a setting it refuses.
    """

    def __init__(self, model: str, engine_arguments: dict[str, Any] | None = None):
        directory = model_directory(model)
        engine_arguments = engine_arguments or {}
        known = {field.name for field in dataclasses.fields(EngineArgs)}
        if unknown := sorted(set(engine_arguments) - known):
            raise ValueError(f"unknown engine argument {unknown[0]!r}: see vllm serve --help")
        if current_platform.is_cpu():
            # Without an accelerator the engine leaves a second process nothing to overlap with, and it takes seconds to
            # start. A user's own setting wins.
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        self.model, self.directory = model, directory
        # A model's own defaults stand between ours and the user's word.
        ours = {name: value for name, value in _DEFAULTS.items() if name not in engine_defaults(directory)}
        with explicit.told(engine_arguments):
            self._engine = Engine(ours | engine_arguments | {"model": str(directory)})
        self.engine = self._engine.llm
        self._template = (directory / CHAT_TEMPLATE).read_text(encoding="utf-8")
        self._tokenizer = self.engine.get_tokenizer()
        config = self.engine.llm_engine.model_config
        loader = config.multimodal_config.media_io_kwargs["video"][SETTINGS]
        self.frames, self._limits = loader.frames, loader.limits
        self.settings = VideoSettings.read(config.hf_config)
        self._bounds = self._bounds_of_engine()
        self._plan = Plan(
            self._prompt_of,
            self._tokenizer,
            config.max_model_len * self._tokenizer.max_chars_per_token,
            self.settings,
            self.frames,
            self._limits,
            block_size=self._block_size(),
            marker=config.hf_config.image_token_index,
        )

    def answer(self, question: Question) -> Answer:
        """Answer one question, greedily.

        Raises:
            EngineDied: the engine ended.
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

        Raises:
            EngineDied: the engine ended; what came before is right.
        """
        return self._answers(by_video(questions, _video_of))

    def answers_by_video(self, videos: Iterable[Sequence[Question]]) -> Iterator[tuple[int, Answer | Score | Failure]]:
        """As `answers`, for questions grouped by video. A group is drawn when the next video is to be decoded.

        Positions count all questions that were drawn.
        """
        positions = itertools.count()
        return self._answers([(next(positions), question) for question in group] for group in videos)

    def _answers(
        self, groups: Iterable[Sequence[tuple[int, Question]]]
    ) -> Iterator[tuple[int, Answer | Score | Failure]]:
        plan = self._plan
        with ReadyQuestions(groups, _video_of, plan, self._limits) as ready:
            flow = Flow(self._engine, ready, self._bounds, self._ask, self._finish, plan.cache_tokens)
            try:
                for asked, result in flow:
                    yield asked.position, Failure(result) if isinstance(result, Exception) else result
            finally:
                flow.stop()

    def _ask(self, asked: Asked) -> Scoring | None:
        """Hand a question to the engine.

        Raises:
            ValueError: it is too long.
        """
        question, prompt = asked.question, asked.prompt
        if question.continuation is not None:
            scoring = Scoring(prompt.token_ids, prompt.continuation, reads_video=asked.leads)
            self._submit(asked, *scoring.request())
            return scoring
        sampling = SamplingParams(
            temperature=0.0,
            max_tokens=question.max_tokens,
            logprobs=question.logprobs or None,
            # The first sign of an answer says that its video is in the prefix cache.
            output_kind=RequestOutputKind.CUMULATIVE if asked.leads else RequestOutputKind.FINAL_ONLY,
        )
        self._submit(asked, prompt.token_ids, sampling)
        return None

    def _submit(self, asked: Asked, token_ids: list[int], sampling: SamplingParams) -> None:
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
            self._engine.add_request(str(asked.position), rendered, sampling)
        except VLLMClientError as problem:
            raise ValueError(str(problem)) from problem

    def _finish(self, asked: Asked, scoring: Scoring | None, output: RequestOutput) -> Answer | Score | None:
        """What a question comes to; None where its score takes another request, which is then in the engine."""
        if scoring is None:
            return self._answer(asked, output)
        scoring.take(output)
        if scoring.logprobs is None:
            self._submit(asked, *scoring.request())
            return None
        return self._score(asked, scoring)

    def _prompt_of(self, question: Question) -> str:
        return self.prompt(question.text, question.options, question.prompt_frame)

    def close(self) -> None:
        """Shut the engine down."""
        self._engine.close()

    def _block_size(self) -> int:
        """Tokens in a block of the prefix cache (vllm/v1/core/kv_cache_utils.py)."""
        config = self.engine.llm_engine.vllm_config
        parallel = config.parallel_config
        ranks = parallel.decode_context_parallel_size * parallel.prefill_context_parallel_size
        return config.cache_config.block_size * ranks

    def _bounds_of_engine(self) -> Bounds:
        """Admission limits, derived from vLLM's caches and `max_num_seqs`."""
        config = self.engine.llm_engine.vllm_config
        scheduler, cache = config.scheduler_config, config.cache_config
        video_tokens = self.settings.video_tokens(self.frames)
        capacity = (cache.num_gpu_blocks or 0) * cache.block_size
        a_step = math.ceil(scheduler.max_num_batched_tokens / video_tokens)
        return Bounds(
            questions=2 * scheduler.max_num_seqs,
            # What is there already leaves room for one video more.
            cache_tokens=capacity - video_tokens,
            leading=max(1, min(2 * a_step, capacity // video_tokens // 2)),
            # One to spare: an engine in another process is a step ahead of what is known here.
            embeddings=max(1, scheduler.encoder_cache_size // video_tokens - 1),
        )

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

    def _answer(self, asked: Asked, output: RequestOutput) -> Answer:
        [completion] = output.outputs
        question, indices = asked.question, list(asked.video.video.indices)
        pathways = self.settings.pathways
        slow = slow_indices(len(indices), pathways.slow.frames) if isinstance(pathways, SlowFast) else []
        first = completion.logprobs[0] if completion.logprobs else {}
        top = sorted(first.items(), key=lambda item: -item[1].logprob)[: question.logprobs]
        options = question.options
        return Answer(
            model=self.model,
            video=str(Path(question.video)),
            frames=indices,
            slow_frames=slow,
            video_tokens=self.settings.video_tokens(len(indices)),
            prompt=asked.prompt.text,
            prompt_token_ids=list(output.prompt_token_ids),
            token_ids=list(completion.token_ids),
            text=completion.text.strip(),
            answer=read_choice(completion.text, options) if options else None,
            logprobs=[
                {"token_id": token, "token": found.decoded_token, "logprob": found.logprob} for token, found in top
            ],
        )

    def _score(self, asked: Asked, scoring: Scoring) -> Score:
        question = asked.question
        return Score(
            model=self.model,
            video=str(Path(question.video)),
            frames=list(asked.video.video.indices),
            prompt=asked.prompt.text,
            prompt_token_ids=scoring.prompt,
            token_ids=scoring.continuation,
            logprobs=scoring.logprobs,
            is_greedy=scoring.is_greedy,
        )


def _video_of(question: Question) -> str:
    return question.video
