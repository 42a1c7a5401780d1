"""Tests that need a GPU and did not run are named at the end, whether skipped or deselected."""

import pytest

from tests import without_gpu

pytest_plugins = ["pytester"]

TESTS = "import pytest\n@pytest.mark.gpu\ndef test_one(): pass\ndef test_two(): pass\n"
REST = ("-m", "not gpu")


@pytest.mark.parametrize(
    ("present", "arguments", "why"),
    [(False, (), "no GPU"), (False, REST, "no GPU"), (True, REST, "deselected"), (True, (), None)],
)
def test_what_did_not_run_is_named(pytester, monkeypatch, present, arguments, why):
    monkeypatch.setattr(without_gpu, "gpu_present", lambda: present)
    pytester.makeini("[pytest]\nmarkers = gpu")
    pytester.makepyfile(test_some=TESTS)
    result = pytester.runpytest_inprocess("-p", "tests.without_gpu", *arguments)
    if why:
        result.stdout.fnmatch_lines([f"NOT TESTED, {why}: 1 tests of test_some.py"])
    else:
        result.stdout.no_fnmatch_line("*NOT TESTED*")
        result.assert_outcomes(passed=2)


def test_nothing_is_said_where_no_test_needs_a_gpu(pytester, monkeypatch):
    monkeypatch.setattr(without_gpu, "gpu_present", lambda: pytest.fail("torch was asked for"))
    pytester.makepyfile("def test_two(): pass")
    pytester.runpytest_inprocess("-p", "tests.without_gpu").stdout.no_fnmatch_line("*NOT TESTED*")
