"""Skip and list tests that need torch where it is missing.

This happens in `make pure` on a Python for which no CPU build of torch is available. A test that needs torch in some
other way fails there, so nothing is skipped silently.
"""

import re
from importlib.util import find_spec
from pathlib import Path

_ABSENT = find_spec("torch") is None
_IMPORTS = re.compile(
    r"^(import torch|from (torch|safetensors\.torch|examples\.random_checkpoint|sfllava_plugin\.tokens\.pooling)\b"
    r"|from tests import reference\b|from tests\.reference_family import .*\b(anyres|checkpoints|models|pools)\b)",
    re.MULTILINE,
)
_TESTS_FOLDER = Path(__file__).parent
_FILES = sorted(
    str(file.relative_to(_TESTS_FOLDER))
    for file in _TESTS_FOLDER.rglob("test_*.py")
    if _IMPORTS.search(file.read_text())
)
#: Fixtures that write weights; a test that imports all modules, and those of slow frames, which torch chooses.
_FIXTURES = {"small_hf", "small_original", "checkpoint"}
_TESTS = {
    "test_a_name_has_a_licence_and_a_proof",
    "test_a_name_has_its_numbers",
    "test_every_name_and_alias_is_there_once",
    "test_flashes_miss_the_slow_frames_and_hit_a_fast_one",
    "test_importing_the_pure_half_loads_no_engine",
    "test_the_tiny_models_tower_is_its_own",
}

#: For pytest's `collect_ignore`.
FILES = _FILES if _ABSENT else []


def _needs_torch(item) -> bool:
    return item.originalname in _TESTS or bool(_FIXTURES & set(item.fixturenames))


def deselect(config, items) -> None:
    """Deselect tests in other files that need torch."""
    if _ABSENT:
        config.hook.pytest_deselected(items=[item for item in items if _needs_torch(item)])
        items[:] = [item for item in items if not _needs_torch(item)]


def report(terminalreporter) -> None:
    """List the skipped tests."""
    if _ABSENT:
        fixtures = ", ".join(sorted(_FIXTURES))
        others = ", ".join([*FILES, *sorted(_TESTS)])
        terminalreporter.write_line(f"NOT TESTED without torch: {others}, and tests that use {fixtures}")
