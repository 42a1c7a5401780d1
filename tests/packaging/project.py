"""Requirements of pyproject.toml, and the lock that tests run with."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements/cpu.lock"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = [f"3.{minor}" for minor in range(*map(int, re.findall(r"3\.(\d+)", PROJECT["requires-python"])))]

DEPENDENCIES = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}


def pins(text: str) -> dict[str, Version]:
    """Parse a list of pins; vLLM's CPU and GPU builds are one."""
    lines = [line.partition(" ")[0].split("==") for line in text.splitlines() if "==" in line]
    return {name.removesuffix("-cpu"): Version(version) for name, version in lines}


TESTED = pins(LOCK.read_text())
