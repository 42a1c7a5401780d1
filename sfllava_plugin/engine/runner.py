"""Questions in, answers out: one vLLM engine in this process and the way every question takes to it.

A question becomes the prompt that the model directory's chat template writes, and a video becomes frames by frames.py,
exactly as in the server. It does not know files of questions or benchmarks.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# One question does not pay for a second process; a user's own setting wins. Read when vLLM is imported.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

from vllm import LLM, EngineArgs, RequestOutput, SamplingParams
from vllm.exceptions import VLLMClientError

from sfllava_plugin import checkpoints, prompts
from sfllava_plugin.engine.settings import VideoSettings
from sfllava_plugin.engine.video_loader import metadata
from sfllava_plugin.frames import read_video
from sfllava_plugin.model_directory import CHAT_TEMPLATE
from sfllava_plugin.pathways import SlowFast, slow_indices

#: What the released demo generates.
DEFAULT_MAX_TOKENS = 256
_TOP_LOGPROBS = 5


@dataclasses.dataclass(frozen=True)
class Question:
    """One question about one video (a file, or a folder of images); ``options`` make it multiple choice."""

    video: str
    text: str
    options: tuple[str, ...] = ()
    max_tokens: int = DEFAULT_MAX_TOKENS


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
        quiet = {"disable_log_stats": True, "use_tqdm_on_load": False}
        self.model = model
        self.engine = LLM(**quiet | (engine_arguments or {}) | {"model": str(directory)})
        self._template = (directory / CHAT_TEMPLATE).read_text(encoding="utf-8")
        self._tokenizer = self.engine.get_tokenizer()
        config = self.engine.llm_engine.model_config
        self.settings = VideoSettings.read(config.hf_config)
        self._frames = config.multimodal_config.media_io_kwargs["video"]["num_frames"]

    def answer(self, question: Question) -> Answer:
        """Answer one question, greedily.

        Raises:
            VideoError: the video cannot be read.
            ValueError: the question does not fit the context.
        """
        video = read_video(question.video, num_frames=self._frames, image_size=self.settings.image_size)
        prompt = self.prompt(question.text, question.options)
        token_ids = self._tokenizer(prompt, add_special_tokens=False).input_ids
        sampling = SamplingParams(temperature=0.0, max_tokens=question.max_tokens, logprobs=_TOP_LOGPROBS)
        request = {
            "prompt_token_ids": token_ids,
            "multi_modal_data": {"video": [(video.frames, metadata(video))]},
        }
        try:
            [output] = self.engine.generate(request, sampling, use_tqdm=False)
        except VLLMClientError as error:
            raise ValueError(str(error)) from error
        return self._answer(question, prompt, list(video.indices), output)

    def prompt(self, text: str, options: Sequence[str] = ()) -> str:
        """The whole prompt of a question, as the server's chat template writes it."""
        return prompts.render(
            self._template,
            text,
            options,
            bos_token=self._tokenizer.bos_token or "",
            eos_token=self._tokenizer.eos_token or "",
        )

    def _answer(self, question: Question, prompt: str, indices: list[int], output: RequestOutput) -> Answer:
        [completion] = output.outputs
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
            prompt=prompt,
            prompt_token_ids=list(output.prompt_token_ids),
            token_ids=list(completion.token_ids),
            text=completion.text.strip(),
            answer=prompts.read_choice(completion.text, options) if options else None,
            logprobs=[
                {"token_id": token, "token": found.decoded_token, "logprob": found.logprob} for token, found in top
            ],
        )
