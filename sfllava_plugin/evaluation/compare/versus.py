"""Evaluate several methods on the same tasks, each in its own process.

One process for each method is slower than one engine for all, but always right: methods differ in weights, layouts and
vLLM settings, and foreign models are not ours to load.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sfllava_plugin._environment import install_hint
from sfllava_plugin.checkpoints.hub import entry_of
from sfllava_plugin.checkpoints.prepared import is_prepared
from sfllava_plugin.errors import EngineStartError
from sfllava_plugin.evaluation.compare.comparison import leaves
from sfllava_plugin.evaluation.compare.errors import FolderError, Unpaired
from sfllava_plugin.evaluation.compare.runs import Method, Results, read_methods

_OURS = "sfllava"
_LABEL = re.compile(r"([^=:,/]+)=(.+)", re.DOTALL)
_FOREIGN = re.compile(r"([A-Za-z_]\w*):(.*)", re.DOTALL)
_SECONDS_TO_END = 30
_UNSAFE = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class Contender:
    """A method to evaluate: lmms-eval's ``--model`` and ``--model_args``."""

    label: str
    model: str
    model_args: str

    @property
    def folder(self) -> str:
        """A file name; lmms-eval's own parser ends paths at a comma."""
        return _UNSAFE.sub("_", self.label).strip("_")

    def ran(self, results: Results, limit: int | None) -> bool:
        """Tell whether results are this method's, with the same limit."""
        return results.method == (self.model, self.model_args) and results.config.get("limit") == limit


def parse(text: str) -> Contender:
    """Parse ``[LABEL=]NAME[,ARGUMENT=VALUE...]`` or ``[LABEL=]MODEL:ARGUMENTS``.

    NAME is a model of ours: an alias, a model directory, a checkpoint folder or a hub repository. MODEL is any model
    of lmms-eval.

    Raises:
        ValueError: it is empty, or no model has the name.
    """
    labelled = _LABEL.fullmatch(text)
    label, method = (labelled[1], labelled[2]) if labelled else (text, text)
    if foreign := _FOREIGN.fullmatch(method):
        return Contender(label, foreign[1], foreign[2])
    name = method.partition(",")[0]
    if not name:
        raise ValueError(f"{text!r} names no model; give NAME, NAME,ARGUMENT=VALUE or MODEL:ARGUMENTS")
    if not is_prepared(name):
        entry_of(name)
    return Contender(label, _OURS, f"pretrained={method}")


@dataclass(frozen=True)
class Job:
    """What all methods are asked.

    Attributes:
        tasks: tasks and groups.
        output: the folder of all results; each method has a folder in it.
        limit: the first questions of each task only.
        tasks_folder: the folder of our own tasks.
        extra: further arguments of lmms-eval.
    """

    tasks: Sequence[str]
    output: Path
    limit: int | None
    tasks_folder: Path
    extra: Sequence[str] = ()

    def command(self, contender: Contender, tasks: Sequence[str]) -> list[str]:
        """Return the call of lmms-eval."""
        command = [sys.executable, "-m", "lmms_eval", "--model", contender.model, "--tasks", ",".join(tasks)]
        command += ["--model_args", contender.model_args] if contender.model_args else []
        command += ["--include_path", str(self.tasks_folder), "--log_samples"]
        command += ["--output_path", str(self.output / contender.folder)]
        command += ["--limit", str(self.limit)] if self.limit is not None else []
        return [*command, *self.extra]

    def method(self, contender: Contender) -> Method | None:
        """Read what a method has finished; None if that is nothing."""
        try:
            found = read_methods(
                self.output / contender.folder, contender.label, lambda results: contender.ran(results, self.limit)
            )
        except (FolderError, Unpaired):
            return None
        return found[0]

    def missing(self, contender: Contender) -> list[str]:
        """List the tasks and groups that a method has not finished."""
        method = self.method(contender)
        if method is None:
            return list(self.tasks)
        return [task for task in self.tasks if not set(leaves(task, method.groups)) <= set(method.tasks)]


def check(contenders: Sequence[Contender], job: Job) -> None:
    """Check what would fail after minutes.

    Raises:
        ValueError: fewer than two methods, two with one folder, or a path that lmms-eval cannot parse.
        EngineStartError: lmms-eval is not installed.
    """
    if len(contenders) < 2:
        raise ValueError("there is one method only: give two or more names")
    folders: dict[str, Contender] = {}
    for contender in contenders:
        if other := folders.get(contender.folder):
            raise ValueError(f"{contender.label!r} and {other.label!r} share a folder: give LABEL={contender.label}")
        folders[contender.folder] = contender
    if "," in str(job.output):
        raise ValueError(f"--output {job.output}: lmms-eval cannot write to a path with a comma; choose another")
    if find_spec("lmms_eval") is None:
        raise EngineStartError(f"lmms-eval is not installed: {install_hint('eval')}")


def evaluate(contenders: Sequence[Contender], job: Job, *, keep_going: bool = False) -> int:
    """Evaluate each method on the tasks it has not finished.

    Args:
        keep_going: evaluate the other methods if one fails.

    Returns:
        The exit code: 0, or that of the first process that failed, or 1 if there are no results.
    """
    status = 0
    for contender in contenders:
        tasks = job.missing(contender)
        if not tasks:
            print(f"sfllava: {contender.label}: finished before", file=sys.stderr)
            continue
        print(f"sfllava: {contender.label}: evaluating {', '.join(tasks)}", file=sys.stderr)
        job.output.mkdir(parents=True, exist_ok=True)
        ended = _run(job.command(contender, tasks))
        status = status or max(ended, 0)
        if missing := job.missing(contender):
            status = status or 1
            print(
                f"sfllava: {contender.label}: lmms-eval ended with status {ended} and without results of "
                f"{', '.join(missing)}; its messages are above; run the same command to continue",
                file=sys.stderr,
            )
            if not keep_going:
                return status
    return status


def _run(command: Sequence[str]) -> int:
    """Run lmms-eval; its output goes to standard error, since ours is the table."""
    with _terminated_as_interrupted(), subprocess.Popen(command, stdout=2) as process:
        try:
            return process.wait()
        except BaseException:
            _end(process)
            raise


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """End on SIGTERM as on Ctrl-C, which ends the child, too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
