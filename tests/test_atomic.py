"""files.py: a file is there whole, with the user's rights, or as it was before."""

import os

import pytest

from sfllava_plugin._atomic import written_aside


@pytest.mark.parametrize(("umask", "rights"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_file_has_the_rights_that_the_user_gives(tmp_path, umask, rights):
    before = os.umask(umask)
    try:
        with written_aside(tmp_path / "a") as file:
            file.write(b"new")
            assert not (tmp_path / "a").exists()
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (tmp_path / "a").stat().st_mode & 0o777 == rights


def test_a_failure_leaves_what_was_there(tmp_path):
    (tmp_path / "a").write_bytes(b"old")

    def fail():
        with written_aside(tmp_path / "a") as file:
            file.write(b"half of the n")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"
