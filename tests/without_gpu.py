"""Skip the tests marked `gpu` where there is no GPU, and name them at the end: a skip alone is easily overlooked.

A plugin of pytest, loaded by conftest.py.
"""

import importlib.util

import pytest

_MARK = "gpu"
_FOUND = pytest.StashKey[list]()


def gpu_present() -> bool:
    """Tell whether torch sees a GPU. It imports torch, so it is called only where a test needs one."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


# Before `-m` deselects any: those are counted too.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    found = [item for item in items if item.get_closest_marker(_MARK)]
    config.stash[_FOUND] = found
    if found and not gpu_present():
        for item in found:
            item.add_marker(pytest.mark.skip(reason="no GPU"))


def pytest_terminal_summary(terminalreporter, config):
    """Count the tests that had a GPU to run on, or had none."""
    found = config.stash.get(_FOUND, [])
    if not found or config.option.collectonly:
        return
    reports = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    ran = {report.nodeid for report in reports}
    missing = [item.nodeid for item in found if item.nodeid not in ran]
    if missing:
        why = "deselected" if gpu_present() else "no GPU"
        files = ", ".join(sorted({name.partition("::")[0] for name in missing}))
        terminalreporter.write_line(f"NOT TESTED, {why}: {len(missing)} tests of {files}", yellow=True, bold=True)
