"""Leave out the tests that need torch where it is not installed, and name them.

That is `make pure` on a Python for which no CPU build of torch is within reach. A new test file that needs torch in
another way than these fails there, so nothing is left out unseen.
"""

import re
from importlib.util import find_spec
from pathlib import Path

_ABSENT = find_spec("torch") is None
_IMPORTS = re.compile(
    r"^(import torch|from (torch|safetensors\.torch|examples\.random_checkpoint|sfllava_plugin\.pooling)\b"
    r"|from tests import reference)",
    re.MULTILINE,
)
#: Fixtures that write weights.
_FIXTURES = {"small_hf", "small_original", "checkpoint"}

FILES = sorted(file.name for file in Path(__file__).parent.glob("test_*.py") if _IMPORTS.search(file.read_text()))
FILES = FILES if _ABSENT else []


def deselect(config, items) -> None:
    """Deselect the tests that write weights."""
    if _ABSENT:
        out = [item for item in items if _FIXTURES & set(item.fixturenames)]
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


def report(terminalreporter) -> None:
    """Say what was left out."""
    if _ABSENT:
        terminalreporter.write_line(f"torch is not installed: left out what writes weights, and {', '.join(FILES)}")
