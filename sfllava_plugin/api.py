"""The public Python API: one model, loaded once, which answers questions about videos.

The package exports it lazily. Only `load` needs vLLM.
"""

import os
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from sfllava_plugin._environment import require_vllm

if TYPE_CHECKING:
    from sfllava_plugin.engine.offline import Answer, Failure, Question, Runner, Score


def load(model: str | os.PathLike[str], **engine_arguments: Any) -> "Model":
    """Start an engine with a model.

    Args:
        model: a name or an alias in `sfllava models`, a model directory, a checkpoint folder or a hub repository.
        engine_arguments: fields of vLLM's `EngineArgs`, such as ``dtype``. Unset ones come from the model directory.

    Raises:
        CheckpointError, RegistryError: the model cannot be found or prepared.
        EngineStartError: vLLM is not installed, or the engine did not start.
        ValueError: vLLM does not have an engine argument, or refuses its value.
    """
    require_vllm()
    from sfllava_plugin.engine.offline import Runner

    return Model(Runner(os.fspath(model), engine_arguments))


class Model:
    """A loaded model; as a context manager it shuts its engine down at the end of the block.

    Decoding is greedy, so an answer does not depend on the questions asked beside it. An engine takes one job at a
    time, and one call of `answers` is a job until its iterator is exhausted or closed.
    """

    def __init__(self, runner: "Runner"):
        self.name = runner.model
        self._runner: Runner | None = runner
        self._job = threading.Lock()
        self._results: Generator[tuple[int, Answer | Score | Failure]] | None = None

    def answer(
        self,
        video: str | os.PathLike[str],
        question: str,
        options: Sequence[str] | None = None,
        *,
        max_tokens: int = 256,
        prompt_frame: str | None = None,
        logprobs: int = 0,
    ) -> "Answer":
        """Answer one question about one video or picture.

        Args:
            video: a video file, a folder of images, or a picture.
            question: the question itself; the model's prompt is put around one about a video.
            options: the choices of a multiple-choice question, at most 26. The answer's ``answer`` is then a letter.
            max_tokens: where a longer answer is cut.
            prompt_frame: ``open_ended``, ``multiple_choice``, ``none`` (no wrapper around the question) or ``complete``
                (the question is the whole prompt, with ``<image>`` for the video); by default the one that
                ``options`` imply.
            logprobs: how many of the likeliest first tokens to return with their log-probabilities. It slows
                generation down.

        Raises:
            VideoError: the video cannot be read.
            DecoderFault: decoding failed through no fault of the video; a second attempt may succeed.
            ValueError: the prompt does not fit the context, ``prompt_frame`` does not exist, or a picture has options.
            EngineDied: the engine ended; load the model again.
            RuntimeError: the model is closed, or an iterator of `answers` is still open.
        """
        from sfllava_plugin.engine.offline import Answer, Failure, Question

        asked = Question(os.fspath(video), question, tuple(options or ()), max_tokens, prompt_frame, logprobs=logprobs)
        [result] = self.answers([asked])
        if isinstance(result, Failure):
            raise result.error
        assert isinstance(result, Answer)
        return result

    def answers(self, questions: "Iterable[Question]") -> "Iterator[Answer | Score | Failure]":
        """Answer many questions; yield one result for each, in order.

        A question that cannot be answered yields a `Failure`, whose ``error`` is the exception `answer` would raise.
        The others are not affected. A question with a ``continuation`` yields a `Score`.

        Videos are decoded ahead of the engine, each of them once, and questions about the same video share its work
        wherever they stand in ``questions``. A result is held back until all before it are known.

        Raises:
            EngineDied: the engine ended; what was yielded before is right.
            RuntimeError: the model is closed, or an iterator of `answers` is still open.
        """
        with self._one_job() as runner, closing(runner.answers(questions)) as results:
            self._results = results
            held_back: dict[int, Answer | Score | Failure] = {}
            following = 0
            for position, result in results:
                held_back[position] = result
                while following in held_back:
                    yield held_back.pop(following)
                    following += 1
            self._runner_or_raise()

    def close(self) -> None:
        """Shut the engine down and free its memory; an open iterator of `answers` ends. Closing twice is safe."""
        runner, self._runner = self._runner, None
        if self._results is not None:
            # Before the engine: the iterator withdraws its questions from it.
            self._results.close()
        if runner is not None:
            runner.close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}{'' if self._runner else ', closed'}>"

    @contextmanager
    def _one_job(self) -> "Iterator[Runner]":
        """The runner, for one job at a time: requests are numbered within a job, and two would take each other's."""
        runner = self._runner_or_raise()
        if not self._job.acquire(blocking=False):
            raise RuntimeError("the model is answering other questions: exhaust or close that iterator first")
        try:
            yield runner
        finally:
            self._results = None
            self._job.release()

    def _runner_or_raise(self) -> "Runner":
        if self._runner is None:
            raise RuntimeError("the model is closed: load it again")
        return self._runner
