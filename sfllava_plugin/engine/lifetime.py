"""vLLM's engine from its start to its end; where either fails, the reason in one line.

An engine with a process of its own, the default on a GPU, tells the reason to standard error alone, among a hundred
lines. Of a quiet command (`_environment.quiet`) these go into a file: the last exception there is the reason, and the
file is kept for whoever needs more. Who chose a level of logging sees everything as it comes.
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
from typing import IO, Any

from vllm import LLM, RequestOutput, SamplingParams
from vllm.v1.engine.exceptions import EngineDeadError

from sfllava_plugin.errors import EngineDied, EngineStartError

#: What vLLM's log puts before every line.
_PREFIX = re.compile(r"^\(.*?pid=\d+\) \w+ \S+ \S+ \[.*?\] ?")
#: Exceptions that only send the reader to another one.
_REFERRAL = re.compile("root cause")
_WATCH_SECONDS = 1


class Engine:
    """vLLM's `LLM`, and its engine's loop.

    Raises:
        EngineStartError: it did not start.
        ValueError, OSError: vLLM refuses an argument, or a file is missing.
    """

    def __init__(self, arguments: dict[str, Any]):
        self._output = _output_file()
        try:
            with _standard_error_to(self._output):
                self.llm = LLM(**arguments)
        except (ValueError, OSError):
            raise
        except Exception as error:
            raise EngineStartError(f"the engine did not start: {self._reason(error)}") from error
        # What a start that succeeds has warned of goes where it would have gone.
        warned = _bytes(self._output)
        with suppress(OSError), open(2, "wb", closefd=False) as standard_error:
            standard_error.write(warned)
        self._started_at = len(warned)
        self._is_dead = False
        self._end_waiting_with_process()

    def add_request(self, name: str, prompt: Any, sampling: SamplingParams) -> None:
        """Hand a request to the engine.

        Raises:
            EngineDied: there is none any more.
        """
        try:
            self.llm.llm_engine.add_request(name, prompt, sampling)
        except Exception as error:
            # When the engine dies, a thread of vLLM's client closes the sockets; sending then raises their errors.
            if isinstance(error, EngineDeadError) or self._has_ended():
                raise self._died(EngineDeadError()) from error
            raise

    def step(self) -> list[RequestOutput]:
        """Let the engine work, and return what came of it.

        Raises:
            EngineDied: it failed; whatever fails in a step, fails for every request.
        """
        try:
            return self.llm.llm_engine.step()
        except Exception as error:
            raise self._died(error) from error

    def abort_request(self, names: list[str]) -> None:
        if not self._has_ended():
            self.llm.llm_engine.abort_request(names)

    def close(self) -> None:
        self.llm.llm_engine.engine_core.shutdown()

    @property
    def _client(self):
        """The state of vLLM's client; None for an engine in this process, which needs no client."""
        return getattr(self.llm.llm_engine.engine_core, "resources", None)

    def _has_ended(self) -> bool:
        """Tell whether the engine has failed or its process has ended."""
        return self._is_dead or (self._client is not None and self._client.engine_dead)

    def _died(self, error: Exception) -> EngineDied:
        self._is_dead = True
        return EngineDied(f"the engine died: {self._reason(error, self._started_at)}")

    def _reason(self, error: Exception, since: int = 0) -> str:
        """The last exception in what the engine wrote, and where the rest is."""
        told = "".join(traceback.format_exception(error))
        if self._output is None:
            sys.stderr.write(told)
            return last_exception(told) or "the reason stands above"
        text = _bytes(self._output, since).decode(errors="replace") + told
        reason = last_exception(text) or "its process was killed; the machine may be short of memory"
        return f"{reason.rstrip('.')}; all that it wrote: {_kept(text)}"

    def _end_waiting_with_process(self) -> None:
        """Wake whoever waits for the engine when its process ends: killed, it sends nothing, and vLLM 0.32 waits on."""
        if (client := self._client) is None:
            return

        def watch(outputs=self.llm.llm_engine.engine_core.outputs_queue):
            while not client.engine_dead:
                time.sleep(_WATCH_SECONDS)
            outputs.put_nowait(EngineDeadError())

        threading.Thread(target=watch, name="sfllava-engine-watch", daemon=True).start()


def last_exception(text: str) -> str | None:
    """The last exception of the tracebacks in a log, except those that refer to another."""
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
    """Where standard error goes; None where the user wants to see it, or where there is none."""
    if os.environ.get("VLLM_LOGGING_LEVEL") != "ERROR":
        return None
    try:
        os.fstat(2)
        return tempfile.TemporaryFile()
    except OSError:
        return None


@contextmanager
def _standard_error_to(file: IO[bytes] | None) -> Iterator[None]:
    """Standard error of this process, and for good of those it starts inside."""
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
    """What is in the file. Its place is shared with those who write to it: it is not moved."""
    if file is None:
        return b""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size - since, since)


def _kept(text: str) -> str:
    """The name of a file with ``text``."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="sfllava-engine-", suffix=".log", delete=False) as file:
            file.write(text)
    except OSError as error:
        return f"nowhere ({error.strerror})"
    return file.name
