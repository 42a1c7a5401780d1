"""Engines on a GPU, each with a part of its memory, and measurements for the end of the run."""

import pytest

#: Engines of other tests may still hold memory.
MEMORY_SHARE = 0.4

_MEASURED = []


@pytest.fixture
def measured():
    """measured(line): print a measurement at the end of the run."""
    return _MEASURED.append


def pytest_terminal_summary(terminalreporter):
    for line in _MEASURED:
        terminalreporter.write_line(f"measured: {line}")
