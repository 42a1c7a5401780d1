"""The lmms-eval model `sfllava`: every request of a task through one engine, in the paper's prompt frames.

Requests are answered in whatever order keeps the engine busy and given back in their own. Multiple-choice replies
come back as the bare capital letter, which is what all stock tasks score.
"""

import json
import sys
from typing import Any

from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from tqdm import tqdm

from sfllava_plugin import pathways as pathway_notation
from sfllava_plugin.cli import quiet
from sfllava_plugin.evaluation.asking import question_and_options

PROMPTS = ("paper", "task")
#: What the released evaluation generates at most; a task's own number is smaller or made for longer-winded models.
MAX_NEW_TOKENS = 128
_NAMED_FAILURES = 10


class SlowFastLlava(lmms):
    """``--model sfllava --model_args pretrained=NAME,...``

    Args:
        pretrained: an alias, a model directory, a checkpoint folder or a hub repository.
        frames: frames taken from a video; by default the model's own.
        pathways: in the released notation; by default the model's own.
        prompt: ``paper`` puts question and options into the paper's frames, ``task`` sends the task's text in the
            model's own conversation format.
        max_new_tokens: the longest answer; by default the task's, at most `MAX_NEW_TOKENS`.
        batch_size, max_batch_size, device: what lmms-eval hands to every model; the engine decides these itself.
        engine: vLLM engine arguments, JSON where a value is a mapping.

    Raises:
        ValueError: an argument that neither this class nor vLLM has.
    """

    def __init__(
        self,
        pretrained: str = "sf-llava",
        frames: int | None = None,
        pathways: str | None = None,
        prompt: str = "paper",
        max_new_tokens: int | None = None,
        batch_size: Any = None,
        max_batch_size: Any = None,
        device: Any = None,
        **engine: Any,
    ):
        super().__init__()
        if prompt not in PROMPTS:
            raise ValueError(f"prompt={prompt}: use {' or '.join(PROMPTS)}")
        quiet()
        from sfllava_plugin.engine.runner import Runner

        self._prompt, self._max_new_tokens = prompt, max_new_tokens
        arguments = {name: _value(value) for name, value in engine.items()}
        if frames is not None:
            arguments["media_io_kwargs"] = {"video": {"num_frames": frames}}
        if pathways is not None:
            chosen = str(pathway_notation.parse(pathways))
            arguments["hf_overrides"] = arguments.get("hf_overrides", {}) | {"slowfast_pathways": chosen}
        self._runner = Runner(pretrained, arguments)

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """The answers, in the order of ``requests``; a question whose video cannot be read has the answer "".

        Raises:
            RuntimeError: not one question could be answered.
        """
        from sfllava_plugin.engine.runner import Failure

        results: list[GenerationResult | None] = [None] * len(requests)
        failures: list[str] = []
        questions = [self._question(request) for request in requests]
        for position, result in tqdm(self._runner.answers(questions), total=len(requests), unit="question"):
            if isinstance(result, Failure):
                failures.append(" ".join(str(result.error).split()))
                results[position] = GenerationResult("")
                continue
            counts = TokenCounts(input_tokens=len(result.prompt_token_ids), output_tokens=len(result.token_ids))
            results[position] = GenerationResult(result.answer or result.text, counts)
        self._report(failures, len(requests))
        return results

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError("sfllava answers generate_until tasks; this task asks for log-likelihoods")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        raise NotImplementedError("sfllava answers one question at a time; this task asks in several rounds")

    def clean(self) -> None:
        """Shut the engine down."""
        self._runner.close()

    def _question(self, request: Instance):
        from sfllava_plugin.engine.runner import Question

        context, settings, doc_to_visual, doc_id, task, split = request.args
        doc = self.task_dict[task][split][doc_id]
        text, options = (context, ()) if self._prompt == "task" else question_and_options(doc, context)
        most = self._max_new_tokens or min(settings.get("max_new_tokens") or MAX_NEW_TOKENS, MAX_NEW_TOKENS)
        return Question(_video(doc_to_visual, doc), text, options, most, "none" if self._prompt == "task" else None)

    def _report(self, failures: list[str], total: int) -> None:
        if not failures:
            return
        for failure in sorted(set(failures))[:_NAMED_FAILURES]:
            print(f"sfllava: {failure}", file=sys.stderr)
        print(f"sfllava: {len(failures)} of {total} questions could not be asked", file=sys.stderr)
        if len(failures) == total:
            raise RuntimeError(f"not one of {total} questions could be asked: {failures[0]}")


def _video(doc_to_visual, doc: dict) -> str:
    """The path of a document's one video; a missing one is named by the failure to read it."""
    try:
        visuals = doc_to_visual(doc)
    except SystemExit as error:  # what several stock tasks do about a missing video
        return str(error)
    return str(visuals[0])


def _value(value: Any) -> Any:
    """An engine argument: JSON where it is an object or a list."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        return json.loads(value)
    return value
