"""Questions in, answers out: one vLLM engine and the way every question takes to it.

A question becomes the prompt that the model directory's chat template writes, and a video becomes frames by frames.py,
exactly as in the server. Questions on the same video are asked together: it is decoded and encoded once, and they share
its place in the prefix cache. It does not know files of questions or benchmarks.
"""

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A question on its way through the engine."""

    question: Question
    prompt: str
    frames: tuple[int, ...]


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
        self._most_questions = self.engine.llm_engine.vllm_config.scheduler_config.max_num_seqs * 2
        self._most_videos = self._videos_in_cache() * 2

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
        asked: dict[int, _Asked] = {}
        try:
            with ReadyQuestions(questions, _video, _shared_beginning, self._read) as ready:
                while ready or asked:
                    # The engine gets work as soon as it is decoded, and waits for a decoder only when it has nothing.
                    while ready and self._has_room(asked, ready) and (ready.at_hand or not asked):
                        yield from self._hand_over(ready.take(), asked)
                    yield from self._finished(asked)
        finally:
            self.engine.llm_engine.abort_request([str(position) for position in asked])

    def _has_room(self, asked: dict[int, _Asked], ready: ReadyQuestions) -> bool:
        """Whether the next question may go to the engine."""
        if len(asked) >= self._most_questions:
            return False
        # Every question holds on to its video's frames.
        return not ready.begins_video or len({one.question.video for one in asked.values()}) < self._most_videos

    def _hand_over(self, ready: Ready, asked: dict[int, _Asked]) -> Iterator[tuple[int, Failure]]:
        """Ask a question; it comes back at once if it cannot be asked."""
        try:
            if ready.error:
                raise ready.error
            asked[ready.position] = self._ask(ready.position, ready.question, ready.video)
        except (ValueError, OSError) as error:
            yield ready.position, Failure(error)

    def _finished(self, asked: dict[int, _Asked]) -> Iterator[tuple[int, Answer]]:
        """One step of the engine, and the answers that it finished."""
        for output in self.engine.llm_engine.step() if asked else ():
            if output.finished:
                position = int(output.request_id)
                yield position, self._answer(asked.pop(position), output)

    def _read(self, path: str) -> _Decoded:
        video = read_video(path, num_frames=self._frames, image_size=self.settings.image_size)
        return _Decoded(video, _identifier(path, self._frames))

    def _ask(self, position: int, question: Question, decoded: _Decoded) -> _Asked:
        """Hand a question to the engine.

        Raises:
            ValueError: it is too long.
        """
        video = decoded.video
        prompt = self.prompt(question.text, question.options, question.prompt_frame)
        request = {
            "prompt_token_ids": self._tokenizer(prompt, add_special_tokens=False).input_ids,
            "multi_modal_data": {"video": [(video.frames, metadata(video))]},
            "multi_modal_uuids": {"video": [decoded.identifier]},
        }
        sampling = SamplingParams(
            temperature=0.0,
            max_tokens=question.max_tokens,
            logprobs=_TOP_LOGPROBS,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        renderer = self.engine.renderer
        try:
            parsed = parse_model_prompt(self.engine.model_config, request)
            [rendered] = renderer.render_cmpl([parsed], renderer.default_cmpl_tok_params)
            self.engine.llm_engine.add_request(str(position), rendered, sampling)
        except VLLMClientError as problem:
            raise ValueError(str(problem)) from problem
        return _Asked(question, prompt, video.indices)

    def close(self) -> None:
        """Shut the engine down."""
        self.engine.llm_engine.engine_core.shutdown()

    def _videos_in_cache(self) -> int:
        """How many videos' tokens the KV cache holds, at least 1."""
        cache = self.engine.llm_engine.vllm_config.cache_config
        tokens = (cache.num_gpu_blocks or 0) * cache.block_size
        return max(1, tokens // self.settings.video_tokens(self._frames))

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

    def _answer(self, asked: _Asked, output: RequestOutput) -> Answer:
        [completion] = output.outputs
        question, indices = asked.question, list(asked.frames)
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
            prompt=asked.prompt,
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


def _shared_beginning(question: Question) -> bool:
    """Multiple-choice prompts differ from the others before the video: asked after one another, they share it."""
    return bool(question.options)


def _identifier(path: str, num_frames: int) -> str:
    """The file, its age and size (of a folder, those of the files in it), and how many frames were taken."""
    place = Path(path)
    parts = sorted(place.iterdir()) if place.is_dir() else [place]
    stats = [(part.name, part.stat().st_size, part.stat().st_mtime_ns) for part in parts]
    return f"{place.absolute()} {stats} {num_frames}"
