"""Run `vllm serve` for as long as a test needs it."""

import base64
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

START_SECONDS = 400


@contextmanager
def serve(model: str, *arguments: str, log: Path, **variables: str) -> Iterator[str]:
    """Run `vllm serve --model MODEL`; yield its address once healthy."""
    port = free_port()
    command = [os.path.join(os.path.dirname(sys.executable), "vllm"), "serve", "--model", model]
    command += ["--port", str(port), "--host", "127.0.0.1", *arguments]
    variables = {"VLLM_LOGGING_LEVEL": "INFO", "no_proxy": "*"} | variables
    environment = {k: v for k, v in os.environ.items() if k != "VLLM_ENABLE_V1_MULTIPROCESSING"} | variables
    with log.open("w") as output:
        # A session of its own makes a process group, which is killed afterwards.
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_healthy(process, url, log)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def data_url(content: bytes, kind: str = "video/mp4") -> str:
    """Return a file as a data: URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_healthy(process: subprocess.Popen, url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended:\n{log.read_text()[-3000:]}"
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise AssertionError(f"the server did not start:\n{log.read_text()[-3000:]}")
