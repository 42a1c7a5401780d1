"""The commands in the README and docs/ as a reader types them, page by page, each page in a folder of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pages import PAGES, Block, blocks
from tests.serving import free_port

BIN = Path(sys.executable).parent
SECONDS = 900
#: In scripts, for the port in the pages.
PORT = "8000"

_SERVER = """
{{
{code} --host 127.0.0.1 --port {port}
}} >{output} 2>&1 &
until curl --silent --fail localhost:{port}/health >/dev/null; do
  kill -0 $!
  sleep 1
done
"""
_COMMANDS = """
{{
{code}
}} >{output}
"""


def script(found: list[Block], outputs: Path, port: int) -> str:
    """One script of a page's blocks, so that variables last from one to the next."""
    parts = ["set -euo pipefail"]
    for number, block in enumerate(found):
        code = block.code.strip().replace(f"localhost:{PORT}", f"localhost:{port}")
        parts.append(
            (_SERVER if block.is_server else _COMMANDS).format(code=code, output=outputs / str(number), port=port)
        )
    return "\n".join(parts)


def run(program: str, folder: Path, log: Path, environment: dict[str, str]) -> int:
    """Run a script and end all that it started; returns its exit status.

    The script is the first of its process group, and stays in it, dead, until the others are ended.
    """
    with log.open("w") as errors:
        command = ["bash", "-c", program]
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=errors, start_new_session=True)
    try:
        deadline = time.monotonic() + SECONDS
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode


@pytest.fixture
def environment(tmp_path):
    kept = {k: v for k, v in os.environ.items() if k != "VLLM_ENABLE_V1_MULTIPROCESSING"}
    own = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "SFLLAVA_CACHE": str(tmp_path / "cache"),
        "no_proxy": "*",
    }
    return kept | own


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_the_commands_do_what_the_page_says(page, tmp_path, environment):
    folder, outputs, log = tmp_path / "folder", tmp_path / "outputs", tmp_path / "log"
    folder.mkdir()
    outputs.mkdir()
    found = blocks(page)
    status = run(script(found, outputs, free_port()), folder, log, environment)
    assert status == 0, log.read_text()[-3000:]
    for number, block in enumerate(found):
        if block.output is not None:
            assert (outputs / str(number)).read_text() == block.output
