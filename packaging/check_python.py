"""Refuse an unsupported Python. Runs on every Python since 3.6."""

import re
import sys

with open("pyproject.toml") as project:
    oldest, too_new = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', project.read()).groups()
if not (3, int(oldest)) <= sys.version_info[:2] < (3, int(too_new)):
    sys.exit(
        f"This Python is {sys.version_info[0]}.{sys.version_info[1]}, but sfllava_plugin needs 3.{oldest} to "
        f"3.{int(too_new) - 1}: choose another with make PYTHON=python3.{oldest}"
    )
