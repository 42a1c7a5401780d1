"""Start and stop vLLM's engine; condense its failures into one line.

An engine in a process of its own, the default on a GPU, logs the reason of a failure to standard error only, among a
hundred lines. Quiet commands (`_environment.quiet`) redirect these lines into a file: the last exception there is the
reason, and the file is kept. With a logging level of the user's own, nothing is redirected.
"""

import os
import re
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, cast

from pydantic import ValidationError
from vllm import LLM, RequestOutput, SamplingParams
from vllm.v1.engine.core_client import SyncMPClient
from vllm.v1.engine.exceptions import EngineDeadError

from sfllava_plugin.errors import EngineDied, EngineStartError

#: Before every line of vLLM's log.
_PREFIX = re.compile(r"^\(.*?pid=\d+\) \w+ \S+ \S+ \[.*?\] ?")
#: Exceptions that only point to another one.
_REFERRAL = re.compile("root cause")
_WATCH_SECONDS = 1


class Engine:
    """vLLM's `LLM` and the loop of its engine.

    Raises:
        EngineStartError: the engine did not start.
        ValueError, OSError: vLLM refuses an argument, or a file is missing.
    """

    def __init__(self, arguments: dict[str, Any]):
        self._output = _output_file()
        try:
            with _redirected_standard_error(self._output):
                self.llm = LLM(**arguments)
        except ValidationError as error:
            raise ValueError(_problem(error)) from error
        except (ValueError, OSError):
            raise
        except Exception as error:
            raise EngineStartError(f"the engine did not start: {self._reason(error)}") from error
        # Warnings of a successful start still reach the user.
        warnings = _bytes(self._output)
        with suppress(OSError), open(2, "wb", closefd=False) as standard_error:
            standard_error.write(warnings)
        self._started_at = len(warnings)
        self._is_dead = False
        self._watch_process()

    def add_request(self, name: str, prompt: Any, sampling: SamplingParams) -> None:
        """Submit a request.

        Raises:
            EngineDied: the engine is no longer running.
        """
        try:
            self.llm.llm_engine.add_request(name, prompt, sampling)
        except Exception as error:
            # When the engine dies, a thread of vLLM's client closes the sockets; sending then raises their errors.
            if isinstance(error, EngineDeadError) or self._has_ended():
                raise self._died(EngineDeadError().with_traceback(error.__traceback__)) from error
            raise

    def step(self) -> list[RequestOutput]:
        """Run one step of the engine and return its outputs.

        Raises:
            EngineDied: the step failed, which ends every request.
        """
        try:
            # Only pooling models have other outputs.
            return cast("list[RequestOutput]", self.llm.llm_engine.step())
        except Exception as error:
            raise self._died(error) from error

    def abort_request(self, names: list[str]) -> None:
        if not self._has_ended():
            self.llm.llm_engine.abort_request(names)

    def close(self) -> None:
        self.llm.llm_engine.engine_core.shutdown()

    @property
    def _client(self) -> SyncMPClient | None:
        """vLLM's client of an engine in another process; None for an engine in this one."""
        core = self.llm.llm_engine.engine_core
        return core if isinstance(core, SyncMPClient) else None

    def _has_ended(self) -> bool:
        """Tell whether the engine has failed or its process has ended."""
        return self._is_dead or (self._client is not None and self._client.resources.engine_dead)

    def _died(self, error: Exception) -> EngineDied:
        self._is_dead = True
        return EngineDied(f"the engine died: {self._reason(error, self._started_at)}")

    def _reason(self, error: Exception, since: int = 0) -> str:
        """Return the last exception in the output, and where that is."""
        trace = "".join(traceback.format_exception(error))
        if self._output is None:
            sys.stderr.write(trace)
            return last_exception(trace) or "see the log above"
        text = _bytes(self._output, since).decode(errors="replace") + trace
        reason = last_exception(text) or "its process was killed; the machine may be short of memory"
        return f"{reason.rstrip('.')}; full log: {_saved(text)}"

    def _watch_process(self) -> None:
        """Unblock `step` when the engine's process ends.

        A killed process sends nothing, and vLLM 0.32 would block for ever.
        """
        if (client := self._client) is None:
            return
        # Without a reference to the client, which would keep it alive.
        resources, outputs = client.resources, client.outputs_queue

        def watch() -> None:
            while not resources.engine_dead:
                time.sleep(_WATCH_SECONDS)
            outputs.put_nowait(EngineDeadError())

        threading.Thread(target=watch, name="sfllava-engine-watch", daemon=True).start()


def _problem(error: ValidationError) -> str:
    """Return the first problem of pydantic's report, without its types and links."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"].removeprefix("Value error, ")


def last_exception(text: str) -> str | None:
    """Return a log's last exception which does not only refer to another."""
    found, inside = None, False
    for line in text.splitlines():
        line = _PREFIX.sub("", line)
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif inside and line and not line[0].isspace():
            inside = False
            found = found if _REFERRAL.search(line) else line
    return found


def _output_file() -> IO[bytes] | None:
    """Open a file for standard error unless the user watches that."""
    if os.environ.get("VLLM_LOGGING_LEVEL") != "ERROR":
        return None
    try:
        os.fstat(2)
        return tempfile.TemporaryFile()
    except OSError:
        return None


@contextmanager
def _redirected_standard_error(file: IO[bytes] | None) -> Iterator[None]:
    """Redirect standard error, and for good that of new child processes."""
    if file is None:
        yield
        return
    sys.stderr.flush()
    own = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(own, 2)
        os.close(own)


def _bytes(file: IO[bytes] | None, since: int = 0) -> bytes:
    """Read the file without moving its offset, which its writers share."""
    if file is None:
        return b""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size - since, since)


def _saved(text: str) -> str:
    """Write ``text`` to a file and return its name."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="sfllava-engine-", suffix=".log", delete=False) as file:
            file.write(text)
    except OSError as error:
        return f"not saved ({error.strerror})"
    return file.name
