"""Answer requests from the journal, or with the engines of all processes."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmms_eval.api.instance import Instance
from lmms_eval.models.model_utils.gen_metrics import log_metrics
from tqdm import tqdm

from sfllava_plugin import provenance
from sfllava_plugin.engine.offline import Answer, Failure, Question, Score
from sfllava_plugin.errors import EngineDied
from sfllava_plugin.evaluation import exit_status, trace
from sfllava_plugin.evaluation.dealing import Assignment, all_take_part, answer_together
from sfllava_plugin.evaluation.journal import Journal
from sfllava_plugin.evaluation.launch import agreed_time
from sfllava_plugin.evaluation.pictures import identity
from sfllava_plugin.evaluation.requests import command_of, is_padding

if TYPE_CHECKING:
    from sfllava_plugin.engine.offline import Runner

#: The exit status of `sfllava`, too.
_ENGINE_DIED = 3

#: An answer or a score, as the journal and the trace keep it.
Row = dict[str, Any]


class Answering:
    """One process's engine, with the journal and the trace of its run.

    Args:
        runner: this process's engine.
        run: description of the run, for the trace.
        journal: earlier answers, and the place for new ones; None keeps nothing.
        rank: this process among those of the run.
    """

    def __init__(self, runner: "Runner", run: dict[str, Any], journal: Journal | None, rank: int):
        self._runner, self._run, self._journal, self._rank = runner, run, journal, rank
        self._begun = agreed_time()
        self._closed = False

    def answers(self, requests: list[Instance], question_of: Callable[[Instance], Question]) -> list[Row | None]:
        """Answer requests, in their order; None where that is impossible.

        Failures are printed. If the engine dies, lmms-eval's command ends with status 3.

        Raises:
            RuntimeError: no request could be answered.
        """
        answers: list[Row | None] = [None] * len(requests)
        failures: list[str] = []
        questions: dict[int, Question] = {}
        keys: dict[int, str | None] = {}
        real = [position for position, request in enumerate(requests) if not is_padding(request)]
        for position in real:
            try:
                questions[position] = question_of(requests[position])
                keys[position] = self._key(questions[position]) if self._journal else None
            except (Exception, SystemExit) as error:  # from tasks' own code; several exit if a video is missing
                questions.pop(position, None)
                failures.append(_one_line(error))
            else:
                answers[position] = self._journal.get(keys[position]) if self._journal else None
        missing = [position for position in questions if answers[position] is None]
        before = len(questions) - len(missing)
        mine = [Assignment(self._rank, position, questions[position], keys[position]) for position in missing]
        if before:
            print(f"sfllava: {before} answers from the journal", file=sys.stderr)
        ask = partial(self._ask, before=before)
        try:
            for assignment, answer in answer_together(mine, ask) if all_take_part(requests) else ask(mine):
                if isinstance(answer, str):
                    failures.append(answer)
                else:
                    answers[assignment.position] = answer
        except EngineDied as error:
            kept = "; answers so far are kept: run the same command to continue" if self._journal else ""
            exit_status.stop(EngineDied(f"{error}{kept}"), _ENGINE_DIED)
        self._write_trace(requests, answers)
        exit_status.report(failures, len(real))
        return answers

    def close(self) -> None:
        """Shut the engine down; further calls do nothing."""
        if not self._closed:
            self._closed = True
            self._runner.close()
            if self._journal:
                self._journal.close()

    def _ask(self, asked: list[Assignment], before: int) -> Iterator[tuple[Assignment, Row | str]]:
        """Ask this process's engine; yield answers or errors as they come."""
        begin, tokens, answered = time.monotonic(), 0, 0
        results = self._runner.answers([assignment.question for assignment in asked])
        bar = tqdm(results, total=len(asked), unit="question", smoothing=0.05, disable=self._rank != 0)
        for place, result in bar:
            if isinstance(result, Failure):
                yield asked[place], _one_line(result.error)
                continue
            answer = as_row(result)
            if self._journal and (key := asked[place].key):
                self._journal.add(key, answer)
            tokens, answered = tokens + answer["output_tokens"], answered + 1
            yield asked[place], answer
        if answered:
            seconds = time.monotonic() - begin
            more = {"total_requests": answered, "questions_per_second": answered / seconds, "from_journal": before}
            log_metrics(seconds, tokens, tokens / seconds, more)

    def _key(self, question: Question) -> str | None:
        """All an answer depends on but the run; None without its video."""
        prompt = self._runner.prompt_of(question)
        if isinstance(question.video, tuple):
            video = identity(question.video)
        else:
            try:
                video = f"{provenance.video_identity(question.video)} {self._runner.frames}"
            except OSError:
                return None
        return provenance.key_of([video, prompt, list(question.options), question.max_tokens, question.continuation])

    def _write_trace(self, requests: list[Instance], answers: list[Row | None]) -> None:
        """Write the trace beside lmms-eval's samples, if the command asks for them."""
        rows: dict[str, list[Row]] = {}
        for request, answer in zip(requests, answers, strict=True):
            if answer:
                rows.setdefault(request.args[4], []).append({"doc_id": request.args[3]} | answer)
        command = next((command_of(request) for request in requests), None)
        output_path = getattr(command, "output_path", None)
        if not rows or not output_path or not getattr(command, "log_samples", False):
            return
        folder = Path(output_path) / f"{self._begun:%Y%m%d_%H%M%S}_sfllava"
        try:
            trace.write(folder, self._run, rows, self._rank)
        except OSError as error:
            # The results are worth more than their trace.
            print(f"sfllava: {folder}: cannot be written: {error.strerror}; continuing without it", file=sys.stderr)


def as_row(result: Answer | Score) -> Row:
    """Keep of a result what the journal and the trace need."""
    row: Row = {"video": result.video, "frames": result.frames, "prompt": result.prompt}
    row |= {"prompt_tokens": len(result.prompt_token_ids)}
    if isinstance(result, Score):
        loss = -statistics.fmean(result.logprobs)
        return row | {"loss": loss, "greedy": result.is_greedy, "logprobs": result.logprobs, "output_tokens": 0}
    return row | {"text": result.text, "answer": result.answer, "output_tokens": len(result.token_ids)}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
