"""Refuse, in one line, a Python that the package is not for. Any Python since 3.6 can run it."""

import re
import sys

with open("pyproject.toml") as project:
    oldest, too_new = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', project.read()).groups()
if not (3, int(oldest)) <= sys.version_info[:2] < (3, int(too_new)):
    sys.exit(
        f"This Python is {sys.version_info[0]}.{sys.version_info[1]}, and sfllava_plugin is for 3.{oldest} to "
        f"3.{int(too_new) - 1}: name another with make PYTHON=python3.{oldest}"
    )
