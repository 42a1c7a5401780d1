"""The lmms-eval model `sfllava`: its arguments, and the calls that lmms-eval makes."""

import os
from pathlib import Path
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms

from sfllava_plugin import provenance
from sfllava_plugin._environment import quiet
from sfllava_plugin.checkpoints.prepare import cache_folder
from sfllava_plugin.evaluation import exit_status, lmms_eval_fixes
from sfllava_plugin.evaluation.answering import Answering
from sfllava_plugin.evaluation.journal import Journal
from sfllava_plugin.evaluation.launch import engine_arguments, start
from sfllava_plugin.evaluation.requests import PROMPTS, Translation

#: The exit status of `sfllava`, too.
_CANNOT_START = 2


class SlowFastLlava(lmms):
    """``--model sfllava --model_args pretrained=NAME,...``

    One engine answers every request of a task, in whatever order keeps it busy; results come back in request order. A
    multiple-choice reply is reduced to its capital letter, which is what every stock task scores. Questions are about
    one video, about any number of pictures, or about neither.

    Args:
        pretrained: an alias, a model directory, a checkpoint folder or a hub repository.
        frames: frames sampled from each video; the model's own by default.
        pathways, newline, order, pool, sampling, fit, rope, time_instruction, max_tiles: as in registry.yaml; the
            model's own by default.
        prompt: ``paper`` puts a video's question and options into the model's prompt wrapper, for sf-llava the paper's;
            ``task`` sends the task's own text in the model's own conversation format.
        max_new_tokens: the longest answer; by default the method's, or else the task's, at most
            `requests.MAX_NEW_TOKENS`.
        data_parallel_size: number of engines. lmms-eval must run as many processes (accelerate launch or torchrun).
        journal: the folder that keeps answers, so that the same command resumes; ``none`` keeps nothing. By default in
            the cache.
        batch_size, max_batch_size, device: passed by lmms-eval to every model and ignored; the engine decides.
        engine: vLLM engine arguments, as JSON where the value is a mapping or a list.

    Raises:
        ValueError: an argument unknown to this class and to vLLM, or a value out of range.
    """

    def __init__(
        self,
        pretrained: str = "sf-llava",
        frames: int | None = None,
        pathways: str | None = None,
        newline: str | None = None,
        order: str | None = None,
        pool: str | None = None,
        sampling: str | None = None,
        fit: str | None = None,
        rope: str | None = None,
        time_instruction: bool | None = None,
        max_tiles: int | None = None,
        prompt: str = "paper",
        max_new_tokens: int | None = None,
        data_parallel_size: int | None = None,
        journal: str | None = None,
        batch_size: Any = None,
        max_batch_size: Any = None,
        device: Any = None,
        **engine: Any,
    ):
        super().__init__()
        if prompt not in PROMPTS:
            raise ValueError(f"prompt={prompt}: use {' or '.join(PROMPTS)}")
        quiet()
        lmms_eval_fixes.keep_likelihood_pairs()
        rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        # lmms-eval reads these two.
        self._rank, self._world_size = rank, world_size
        if data_parallel_size not in (None, world_size):
            raise ValueError(
                f"data_parallel_size={data_parallel_size}, but {world_size} processes were started: use "
                f"accelerate launch --num_processes {data_parallel_size} -m lmms_eval ..."
            )
        settings = {
            "pathways": pathways,
            "newline": newline,
            "order": order,
            "pool": pool,
            "sampling": sampling,
            "fit": fit,
            "rope": rope,
            "time_instruction": time_instruction,
            "max_tiles": max_tiles,
        }
        try:
            arguments = engine_arguments(engine, frames, settings)
            runner = start(pretrained, arguments, world_size)
        except (ValueError, OSError) as error:
            exit_status.stop(error, _CANNOT_START)
        self._translation = Translation(prompt, max_new_tokens, runner.prompts)
        run: dict[str, Any] = {"pretrained": pretrained, "prompt": prompt}
        run |= provenance.describe(runner.directory, arguments)
        run["versions"] |= provenance.versions("lmms-eval")
        self._answering = Answering(runner, run, _open_journal(journal, run, rank), rank)

    @property
    def device(self) -> torch.device:
        """Device of the tensors that lmms-eval's processes exchange."""
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == "nccl":
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        return torch.device("cpu")

    def generate_until(  # type: ignore[override]  # lmms-eval's annotation is older than its class
        self, requests: list[Instance]
    ) -> list[GenerationResult]:
        """Answer ``requests``, in order; an unreadable video gives "".

        Raises:
            RuntimeError: no question could be answered.
        """
        results = []
        answers = self._answering.answers(requests, lambda request: self._translation.question(request, self.task_dict))
        for request, answer in zip(requests, answers, strict=True):
            if answer is None:
                results.append(GenerationResult(""))
                continue
            counts = TokenCounts(input_tokens=answer["prompt_tokens"], output_tokens=answer["output_tokens"])
            reply = self._translation.reply(request, self.task_dict, answer["text"])
            results.append(GenerationResult(reply, counts))
        return results

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Score continuations: mean loss of the tokens, and whether they are greedy.

        The loss is the negative log-likelihood; stock tasks choose the lowest. An unreadable video gives infinity.

        Raises:
            RuntimeError: no continuation could be scored.
        """
        answers = self._answering.answers(
            requests, lambda request: self._translation.continuation(request, self.task_dict)
        )
        return [(answer["loss"], answer["greedy"]) if answer else (float("inf"), False) for answer in answers]

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        raise NotImplementedError("sfllava answers one question at a time; this task asks in several rounds")

    def clean(self) -> None:
        """Shut the engine down. lmms-eval calls this at the end."""
        self._answering.close()
        self._translation.pictures.close()


def _open_journal(where: str | None, description: dict[str, Any], rank: int) -> Journal | None:
    if where is not None and where.lower() == "none":
        return None
    folder = Path(where).expanduser() if where else cache_folder().parent / "evaluation"
    return Journal(folder, description, rank)
