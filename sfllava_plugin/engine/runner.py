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
from sfllava_plugin.engine.flow import Bounds, Flow
from sfllava_plugin.engine.ready import Ready, ReadyQuestions
from sfllava_plugin.engine.settings import VideoSettings
from sfllava_plugin.engine.video_loader import metadata
from sfllava_plugin.frames import Video, read_video
from sfllava_plugin.model_directory import CHAT_TEMPLATE
from sfllava_plugin.pathways import SlowFast, slow_indices

#: What the released demo generates.
DEFAULT_MAX_TOKENS = 256
_TOP_LOGPROBS = 5


@dataclasses.dataclass(frozen=True)
class Question:
    """One question about one video (a file, or a folder of images).

    ``options`` make it multiple choice. ``prompt_frame`` chooses another prompt than these imply (see prompts.py).
    """

    video: str
    text: str
    options: tuple[str, ...] = ()
    max_tokens: int = DEFAULT_MAX_TOKENS
    prompt_frame: str | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer and everything it came from; `sfllava ask --json` prints it."""

    model: str
    video: str
    frames: list[int]
    slow_frames: list[int]
    video_tokens: int
    prompt: str
    prompt_token_ids: list[int]
    token_ids: list[int]
    text: str
    answer: str | None
    logprobs: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a question has no answer: its video cannot be read, or it does not fit the context."""

    error: Exception


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
        quiet = {"disable_log_stats": True, "use_tqdm_on_load": False}
        self.model = model
        self.engine = LLM(**quiet | (engine_arguments or {}) | {"model": str(directory)})
        self._template = (directory / CHAT_TEMPLATE).read_text(encoding="utf-8")
        self._tokenizer = self.engine.get_tokenizer()
        config = self.engine.llm_engine.model_config
        self.settings = VideoSettings.read(config.hf_config)
        self._frames = config.multimodal_config.media_io_kwargs["video"]["num_frames"]
        self._bounds = self._bounds_of_engine()

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

    def answers(self, questions: Iterable[Question]) -> Iterator[tuple[int, Answer | Failure]]:
        """Answer many questions, greedily: (position of the question, its answer) as they finish.

        Videos are decoded ahead of the engine, in the order in which they first occur; as many of them as its KV cache
        holds are in the engine, and as many again wait there, so that memory does not grow with the job. To stop before
        the end, close the generator: what the engine has not finished is dropped.
        """
        with ReadyQuestions(questions, _video, _beginning, self._read) as ready:
            flow = Flow(self.engine.llm_engine, ready, self._bounds, self._ask)
            try:
                for asked, outcome in flow:
                    failed = isinstance(outcome, Exception)
                    yield asked.position, Failure(outcome) if failed else self._answer(asked, outcome)
            finally:
                flow.stop()

    def _read(self, path: str) -> _Decoded:
        video = read_video(path, num_frames=self._frames, image_size=self.settings.image_size)
        return _Decoded(video, _identifier(path, self._frames))

    def _ask(self, asked: Ready[Question]) -> None:
        """Hand a question to the engine.

        Raises:
            ValueError: it is too long.
        """
        question, video = asked.question, asked.video.video
        prompt = self.prompt(question.text, question.options, question.prompt_frame)
        request = {
            "prompt_token_ids": self._tokenizer(prompt, add_special_tokens=False).input_ids,
            "multi_modal_data": {"video": [(video.frames, metadata(video))]},
            "multi_modal_uuids": {"video": [asked.video.identifier]},
        }
        sampling = SamplingParams(
            temperature=0.0,
            max_tokens=question.max_tokens,
            logprobs=_TOP_LOGPROBS,
            # The first sign of an answer says that its video is in the prefix cache.
            output_kind=RequestOutputKind.CUMULATIVE if asked.leads else RequestOutputKind.FINAL_ONLY,
        )
        renderer = self.engine.renderer
        try:
            parsed = parse_model_prompt(self.engine.model_config, request)
            [rendered] = renderer.render_cmpl([parsed], renderer.default_cmpl_tok_params)
            self.engine.llm_engine.add_request(str(asked.position), rendered, sampling)
        except VLLMClientError as problem:
            raise ValueError(str(problem)) from problem

    def close(self) -> None:
        """Shut the engine down."""
        self.engine.llm_engine.engine_core.shutdown()

    def _bounds_of_engine(self) -> Bounds:
        """How much the engine is given at once, from what it runs at once."""
        config = self.engine.llm_engine.vllm_config
        scheduler, cache = config.scheduler_config, config.cache_config
        video_tokens = self.settings.video_tokens(self._frames)
        in_cache = max(1, (cache.num_gpu_blocks or 0) * cache.block_size // video_tokens)
        a_step = math.ceil(scheduler.max_num_batched_tokens / video_tokens)
        return Bounds(
            questions=2 * scheduler.max_num_seqs,
            videos=2 * in_cache,
            leading=max(1, min(2 * a_step, in_cache // 2)),
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
            prompt=self.prompt(question.text, question.options, question.prompt_frame),
            prompt_token_ids=list(output.prompt_token_ids),
            token_ids=list(completion.token_ids),
            text=completion.text.strip(),
            answer=prompts.read_choice(completion.text, options) if options else None,
            logprobs=[
                {"token_id": token, "token": found.decoded_token, "logprob": found.logprob} for token, found in top
            ],
        )


def _video(question: Question) -> str:
    return question.video


def _beginning(question: Question) -> tuple[bool, str]:
    """What decides how a prompt begins, before the video: whether it is multiple choice, and a chosen frame."""
    return bool(question.options), question.prompt_frame or ""


def _identifier(path: str, num_frames: int) -> str:
    """The file, its age and size (of a folder, those of the files in it), and how many frames were taken."""
    place = Path(path)
    parts = sorted(place.iterdir()) if place.is_dir() else [place]
    stats = [(part.name, part.stat().st_size, part.stat().st_mtime_ns) for part in parts]
    return f"{place.absolute()} {stats} {num_frames}"
