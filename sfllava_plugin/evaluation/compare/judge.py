"""Judge logged answers again, with one judge for all methods.

lmms-eval's own `from_log` model cannot: it reads the log format of earlier releases, skips the files that 0.7.3 writes
without a word, and evaluates the whole task again. Here the judge gets the question, the right answer and the logged
reply, in the prompts of the stock tasks (judge_prompts.yaml), and nothing else is asked.
"""

import ast
import os
import re
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import yaml
from tqdm import tqdm

from sfllava_plugin.checkpoints.prepare import cache_folder
from sfllava_plugin.evaluation.compare.errors import Unpaired
from sfllava_plugin.evaluation.compare.runs import DocId, Method, Sample, TaskRun
from sfllava_plugin.evaluation.journal import Journal
from sfllava_plugin.provenance import key_of

_AT_ONCE = 16
_SECONDS = 120
_TRIES = 3
#: Of the stock tasks.
_MAX_TOKENS = 64
_PLACE = re.compile("(<question>|<answer>|<pred>)")
_DICTIONARY = re.compile(r"\{.*?\}", re.DOTALL)
Messages = list[dict[str, str]]


class JudgeError(ValueError):
    """The judge does not answer."""


@dataclass(frozen=True)
class Judge:
    """An OpenAI-compatible server.

    Attributes:
        url: its base, which ends in ``/v1``.
        model: the model there.
    """

    url: str
    model: str

    def ask(self, client: httpx.Client, messages: Messages) -> str:
        """Return the reply.

        Raises:
            JudgeError: no reply, after several tries.
        """
        body = {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": _MAX_TOKENS}
        reason = ""
        for _ in range(_TRIES):
            try:
                response = client.post(f"{self.url}/chat/completions", json=body)
                response.raise_for_status()
                return str(response.json()["choices"][0]["message"]["content"] or "")
            except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
                reason = str(error) or type(error).__name__
        raise JudgeError(f"{self.url}: no verdict after {_TRIES} tries: {reason}; verdicts so far are kept")


def connect(url: str, model: str | None = None) -> Judge:
    """Find the judge's model: the named one, or the server's first.

    Raises:
        JudgeError: the server does not answer.
    """
    base = url.rstrip("/").removesuffix("/chat/completions")
    if model:
        return Judge(base, model)
    try:
        with _client() as client:
            response = client.get(f"{base}/models")
            response.raise_for_status()
            return Judge(base, str(response.json()["data"][0]["id"]))
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        hint = "give the URL that ends in /v1, or --judge-model"
        raise JudgeError(f"no judge at {base}/models: {error}; {hint}") from error


def judge_again(methods: list[Method], judge: Judge, tasks: set[str] | None = None) -> None:
    """Replace the verdicts in the samples of every judged task.

    Verdicts are kept in the user's cache, so that the same command resumes.

    Args:
        tasks: those to judge; by default all that have judged answers.

    Raises:
        JudgeError: the judge stopped answering.
        Unpaired: no folder has judged answers.
    """
    runs = [run for method in methods for task, run in method.tasks.items() if tasks is None or task in tasks]
    asked = [(run, doc_id, metrics, messages) for run in runs for doc_id, metrics, messages in _requests(run)]
    if not asked:
        raise Unpaired("no folder has answers that a judge scored, so --judge has nothing to do")
    journal = Journal(cache_folder().parent / "judging", {"judge": judge.model, "max_tokens": _MAX_TOKENS})
    unreadable = 0
    try:
        verdicts = _verdicts([messages for *_, messages in asked], judge, journal)
        for (run, doc_id, metrics, _), text in zip(asked, verdicts, strict=True):
            verdict = read_verdict(text)
            unreadable += verdict is None
            _replace(run, doc_id, metrics, verdict or {"pred": "no", "score": 0})
    finally:
        journal.close()
    if unreadable:
        print(f"sfllava: {unreadable} of {len(asked)} verdicts are unreadable and count as no, 0", file=sys.stderr)


def _verdicts(asked: list[Messages], judge: Judge, journal: Journal) -> Iterator[str]:
    keys = [key_of(messages) for messages in asked]
    kept = {key: answer["text"] for key in keys if (answer := journal.get(key))}
    missing = {key: messages for key, messages in zip(keys, asked, strict=True) if key not in kept}
    with _client() as client, ThreadPoolExecutor(_AT_ONCE) as threads:
        futures = {key: threads.submit(judge.ask, client, messages) for key, messages in missing.items()}
        try:
            for key, future in tqdm(futures.items(), unit="verdict", disable=not futures):
                kept[key] = future.result()
                journal.add(key, {"text": kept[key]})
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return (kept[key] for key in keys)


def _client() -> httpx.Client:
    key = os.environ.get("OPENAI_API_KEY")
    return httpx.Client(timeout=_SECONDS, headers={"Authorization": f"Bearer {key}"} if key else {})


def _requests(run: TaskRun) -> Iterator[tuple[DocId, tuple[str, ...], Messages]]:
    """Yield each question's metrics that one verdict decides, and the judge's prompt."""
    for doc_id, sample in run.samples.items():
        for prompt in _prompts():
            metrics = tuple(name for name in prompt["metrics"] if name in sample.logged)
            if metrics and (texts := _texts(sample, metrics[0])):
                user = "".join(texts.get(part, part) for part in _PLACE.split(prompt["user"]))
                yield (
                    doc_id,
                    metrics,
                    [
                        {"role": "system", "content": prompt["system"]},
                        {"role": "user", "content": user},
                    ],
                )


def _texts(sample: Sample, metric: str) -> dict[str, str] | None:
    logged = sample.logged[metric]
    if not isinstance(logged, Mapping):
        return None
    question, answer = logged.get("question", logged.get("Q")), logged.get("answer", logged.get("A"))
    if question is None or answer is None or "pred" not in logged:
        return None
    return {"<question>": str(question), "<answer>": str(answer), "<pred>": str(logged["pred"])}


def read_verdict(text: str) -> dict[str, Any] | None:
    """Read the dictionary in a judge's reply; None if there is none.

    ``score`` is a whole number, ``pred`` yes or no where it was asked for.
    """
    found = _DICTIONARY.search(text)
    try:
        verdict = ast.literal_eval(found[0]) if found else None
        return {"score": int(verdict["score"]), "pred": str(verdict.get("pred", "")).lower()} if verdict else None
    except (ValueError, SyntaxError, TypeError, KeyError, AttributeError, MemoryError, RecursionError):
        return None


def _replace(run: TaskRun, doc_id: DocId, metrics: tuple[str, ...], verdict: Mapping[str, Any]) -> None:
    sample = run.samples[doc_id]
    logged = dict(sample.logged)
    for metric in metrics:
        changed: dict[str, Any] = {"score": verdict["score"]}
        if "Correctness" in logged[metric]:
            changed["Correctness"] = "yes" if "yes" in verdict["pred"] else "no"
        logged[metric] = logged[metric] | changed
        # lmms-eval's own result is that of another judge.
        run.reported[metric] = float("nan")
    run.samples[doc_id] = replace(sample, logged=logged)


@cache
def _prompts() -> list[dict[str, Any]]:
    text = Path(__file__).with_name("judge_prompts.yaml").read_text(encoding="utf-8")
    prompts: list[dict[str, Any]] = yaml.safe_load(text)
    return prompts
