"""The lmms-eval model `sfllava`: every request of a task through one engine, in the paper's prompt frames.

Requests are answered in whatever order keeps the engine busy and given back in their own. Multiple-choice replies
come back as the bare capital letter, which is what all stock tasks score.
"""

import os
import statistics
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.gen_metrics import log_metrics
from tqdm import tqdm

from sfllava_plugin import provenance
from sfllava_plugin._environment import quiet
from sfllava_plugin.checkpoints.prepare import cache_folder
from sfllava_plugin.engine.offline.questions import Failure, Question, Score
from sfllava_plugin.errors import EngineDied
from sfllava_plugin.evaluation import exit_status, lmms_eval_fixes, trace
from sfllava_plugin.evaluation.dealing import Dealt, all_take_part, answer_together
from sfllava_plugin.evaluation.documents import question_and_options, words_around
from sfllava_plugin.evaluation.journal import Journal
from sfllava_plugin.evaluation.launch import agreed_time, engine_arguments, start
from sfllava_plugin.prompts.choices import read_choice

PROMPTS = ("paper", "task")
#: What the released evaluation generates at most; a task's own number is smaller or made for longer-winded models.
MAX_NEW_TOKENS = 128
#: What lmms-eval gives every task that names no stops of its own.
_NO_STOPS = ["\n\n"]
_PADDING = "__padding_only__"
#: Exit statuses of `sfllava`, too.
_CANNOT_START, _ENGINE_DIED = 2, 3


class SlowFastLlava(lmms):
    """``--model sfllava --model_args pretrained=NAME,...``

    Args:
        pretrained: an alias, a model directory, a checkpoint folder or a hub repository.
        frames: frames taken from a video; by default the model's own.
        pathways: in the released notation; by default the model's own.
        prompt: ``paper`` puts question and options into the paper's frames, ``task`` sends the task's text in the
            model's own conversation format.
        max_new_tokens: the longest answer; by default the task's, at most `MAX_NEW_TOKENS`.
        data_parallel_size: as many engines; lmms-eval is started as many times (accelerate launch or torchrun).
        journal: the folder that keeps answers for the same command, ``none`` for none; by default in the cache.
        batch_size, max_batch_size, device: what lmms-eval hands to every model; the engine decides these itself.
        engine: vLLM engine arguments, JSON where a value is a mapping.

    Raises:
        ValueError: an argument that neither this class nor vLLM has, or a value that does not fit.
    """

    def __init__(
        self,
        pretrained: str = "sf-llava",
        frames: int | None = None,
        pathways: str | None = None,
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
        lmms_eval_fixes.let_pairs_through()
        self._rank, self._world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if data_parallel_size not in (None, self._world_size):
            raise ValueError(
                f"data_parallel_size={data_parallel_size}, but {self._world_size} processes were started: use "
                f"accelerate launch --num_processes {data_parallel_size} -m lmms_eval ..."
            )
        self._prompt, self._max_new_tokens = prompt, max_new_tokens
        try:
            arguments = engine_arguments(engine, frames, pathways)
            self._runner = start(pretrained, arguments, self._world_size)
        except (ValueError, OSError) as error:
            exit_status.stop(error, _CANNOT_START)
        self._run = {"pretrained": pretrained, "prompt": prompt}
        self._run |= provenance.describe(self._runner.directory, arguments)
        self._run["versions"] |= provenance.versions("lmms-eval")
        self._journal = _open_journal(journal, self._run, self._rank)
        self._begun = agreed_time()
        self._stopped = False

    @property
    def device(self) -> torch.device:
        """Where lmms-eval puts the numbers that its processes exchange."""
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == "nccl":
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        return torch.device("cpu")

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """The answers, in the order of ``requests``; a question whose video cannot be read has the answer "".

        Raises:
            RuntimeError: not one question could be answered.
        """
        results = []
        for request, answer in zip(requests, self._answers(requests, self._question), strict=True):
            if answer is None:
                results.append(GenerationResult(""))
                continue
            counts = TokenCounts(input_tokens=answer["prompt_tokens"], output_tokens=answer["output_tokens"])
            results.append(GenerationResult(self._reply(request, answer["text"]), counts))
        return results

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """(mean negative log-likelihood of the continuation's tokens, whether greedy decoding gives it) for each.

        Stock tasks choose the lowest. A continuation on a video that cannot be read has infinity.

        Raises:
            RuntimeError: not one could be scored.
        """
        answers = self._answers(requests, self._continuation)
        return [(answer["loss"], answer["greedy"]) if answer else (float("inf"), False) for answer in answers]

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        raise NotImplementedError("sfllava answers one question at a time; this task asks in several rounds")

    def clean(self) -> None:
        """Shut the engine down; lmms-eval calls it when all is answered."""
        if not self._stopped:
            self._stopped = True
            self._runner.close()
            if self._journal:
                self._journal.close()

    def _answers(self, requests: list[Instance], question_of) -> list[dict[str, Any] | None]:
        """What came of every request, None where it could not be asked; from the journal what is there already."""
        answers: list[dict[str, Any] | None] = [None] * len(requests)
        failures: list[str] = []
        questions, keys = {}, {}
        # Padding only keeps several processes at the same count.
        real = [position for position, request in enumerate(requests) if not (request.metadata or {}).get(_PADDING)]
        for position in real:
            request = requests[position]
            try:
                questions[position] = question_of(request)
                keys[position] = self._key(questions[position]) if self._journal else None
            except (Exception, SystemExit) as error:  # tasks' own code; several exit where a video is missing
                questions.pop(position, None)
                failures.append(_one_line(error))
            else:
                answers[position] = self._journal.get(keys[position]) if self._journal else None
        missing = [position for position in questions if answers[position] is None]
        before = len(questions) - len(missing)
        mine = [Dealt(self._rank, position, questions[position], keys[position]) for position in missing]
        if before:
            print(f"sfllava: {before} answers from the journal", file=sys.stderr)
        ask = partial(self._asked, before=before)
        try:
            for dealt, answer in answer_together(mine, ask) if all_take_part(requests) else ask(mine):
                if isinstance(answer, str):
                    failures.append(answer)
                else:
                    answers[dealt.position] = answer
        except EngineDied as error:
            kept = "; what was answered is kept, the same command goes on" if self._journal else ""
            exit_status.stop(EngineDied(f"{error}{kept}"), _ENGINE_DIED)
        self._write_trace(requests, answers)
        exit_status.report(failures, len(real))
        return answers

    def _asked(self, asked: list[Dealt], before: int) -> Iterator[tuple[Dealt, dict[str, Any] | str]]:
        """Ask the engine; answers, or why there is none, as they come, with a progress bar and figures at the end."""
        begin, tokens, answered = time.monotonic(), 0, 0
        results = self._runner.answers([dealt.question for dealt in asked])
        bar = tqdm(results, total=len(asked), unit="question", smoothing=0.05, disable=self._rank != 0)
        for place, result in bar:
            if isinstance(result, Failure):
                yield asked[place], _one_line(result.error)
                continue
            answer = _as_row(result)
            if self._journal and (key := asked[place].key):
                self._journal.add(key, answer)
            tokens, answered = tokens + answer["output_tokens"], answered + 1
            yield asked[place], answer
        if answered:
            seconds = time.monotonic() - begin
            more = {"total_requests": answered, "questions_per_second": answered / seconds, "from_journal": before}
            log_metrics(seconds, tokens, tokens / seconds, more)

    def _question(self, request: Instance):
        context, settings, doc_to_visual, doc_id, task, split = request.args
        doc = self.task_dict[task][split][doc_id]
        text, options = self._text_and_options(context, doc_to_visual, doc, task)
        most = self._max_new_tokens or min(settings.get("max_new_tokens") or MAX_NEW_TOKENS, MAX_NEW_TOKENS)
        return Question(_video(doc_to_visual, doc), text, options, most, self._prompt_frame)

    def _reply(self, request: Instance, text: str) -> str:
        """What the task scores: the bare letter where there are options and the text names one."""
        context, settings, doc_to_visual, doc_id, task, split = request.args
        _, options = _question_and_options(context, doc_to_visual, self.task_dict[task][split][doc_id], task)
        letter = read_choice(text, options) if options else None
        return letter or _until(text, settings.get("until"))

    def _continuation(self, request: Instance):
        context, continuation, doc_to_visual, doc_id, task, split = request.args
        doc = self.task_dict[task][split][doc_id]
        if callable(continuation):
            continuation = continuation(doc)
        # The continuation is an answer in words: the open-ended frame, without the options.
        text, _ = self._text_and_options(context, doc_to_visual, doc, task)
        joined = continuation if continuation[:1].isspace() else f" {continuation}"
        return Question(
            _video(doc_to_visual, doc), text, prompt_frame=self._prompt_frame or "open_ended", continuation=joined
        )

    def _text_and_options(self, context: str, doc_to_visual, doc: dict, task: str) -> tuple[str, tuple[str, ...]]:
        """What goes into the prompt frame; in the task's own text the options stand already."""
        if self._prompt == "task":
            return context, ()
        return _question_and_options(context, doc_to_visual, doc, task)

    @property
    def _prompt_frame(self) -> str | None:
        return "none" if self._prompt == "task" else None

    def _key(self, question) -> str | None:
        """What an answer depends on, beside the run; None without a video."""
        from sfllava_plugin.engine.offline.plan import video_identifier

        prompt = self._runner.prompt(question.text, question.options, question.prompt_frame)
        try:
            video = video_identifier(question.video, self._runner.frames)
        except OSError:
            return None
        return provenance.key_of([video, prompt, list(question.options), question.max_tokens, question.continuation])

    def _write_trace(self, requests: list[Instance], answers: list[dict[str, Any] | None]) -> None:
        """Beside lmms-eval's samples, if it writes any."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for request, answer in zip(requests, answers, strict=True):
            if answer:
                rows.setdefault(request.args[4], []).append({"doc_id": request.args[3]} | answer)
        command = next((_command_of(request) for request in requests), None)
        if not rows or not getattr(command, "log_samples", False) or not getattr(command, "output_path", None):
            return
        folder = Path(command.output_path) / f"{self._begun:%Y%m%d_%H%M%S}_sfllava"
        try:
            trace.write(folder, self._run, rows, self._rank)
        except OSError as error:
            # The numbers are worth more than what they came from.
            print(f"sfllava: {folder}: cannot be written: {error.strerror}; it goes on without", file=sys.stderr)


def _question_and_options(context: str, doc_to_visual, doc: dict, task: str) -> tuple[str, tuple[str, ...]]:
    settings = getattr(getattr(doc_to_visual, "__self__", None), "lmms_eval_specific_kwargs", None)
    return question_and_options(task, doc, context, words_around(settings))


def _open_journal(where: str | None, description: dict[str, Any], rank: int) -> Journal | None:
    if where is not None and where.lower() == "none":
        return None
    folder = Path(where).expanduser() if where else cache_folder().parent / "evaluation"
    return Journal(folder, description, rank)


def _as_row(result) -> dict[str, Any]:
    """What the journal and the trace keep of an `Answer` or a `Score`."""
    row = {"video": result.video, "frames": result.frames, "prompt": result.prompt}
    row |= {"prompt_tokens": len(result.prompt_token_ids)}
    if isinstance(result, Score):
        loss = -statistics.fmean(result.logprobs)
        return row | {"loss": loss, "greedy": result.is_greedy, "logprobs": result.logprobs, "output_tokens": 0}
    return row | {"text": result.text, "answer": result.answer, "output_tokens": len(result.token_ids)}


def _video(doc_to_visual, doc: dict) -> str:
    """The path of a document's one video.

    Raises:
        ValueError: the task gives something else.
    """
    visuals = doc_to_visual(doc)
    if len(visuals) != 1 or not isinstance(visuals[0], str | os.PathLike):
        raise ValueError("sfllava answers questions about one video file; the task gives something else")
    return str(visuals[0])


def _until(text: str, stops: list[str] | str | None) -> str:
    """The text before the first stop, where the task has stops of its own."""
    stops = [stops] if isinstance(stops, str) else stops or []
    for stop in stops if stops != _NO_STOPS else ():
        text = text.split(stop)[0] if stop else text
    return text


def _command_of(request: Instance) -> Any:
    """What lmms-eval's command was given."""
    return getattr(getattr(request.args[2], "__self__", None), "args", None)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
