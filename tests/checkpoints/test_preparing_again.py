"""Preparing is repeatable and safe: twice, in two processes, interrupted, and over existing files."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from examples.random_checkpoint import SMALL, write_checkpoint
from sfllava_plugin.checkpoints.formats import CheckpointError
from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.registry import Entry


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint whose tokenizer is small."""
    return write_checkpoint(tmp_path_factory.mktemp("qwen"), family="qwen", geometry=SMALL)


@pytest.fixture
def folder(written, tmp_path):
    """A checkpoint for the test to change."""
    return Path(shutil.copytree(written, tmp_path / "weights"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("SFLLAVA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def entry(folder: Path, **settings) -> Entry:
    return Entry(name="tested", checkpoint=str(folder), **settings)


def state(out: Path) -> dict:
    """Return inode and modification time of a folder and each of its files."""
    files = {path.name: path.lstat() for path in [out, *out.iterdir()]}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in files.items()}


def test_preparing_twice_writes_nothing_new(folder, cache):
    out = prepare(entry(folder))
    before = state(out)
    assert prepare(entry(folder)) == out
    assert state(out) == before
    assert list(cache.iterdir()) == [out]


@pytest.mark.parametrize(
    "settings",
    [
        {"frames": 49},
        {"pathways": "slowfast-slow_10frms_spatial_1d_max_pool-fast_4x5"},
        {"prompts": "yi"},
        {"max_model_len": 4095},
        {"engine": {"dtype": "float16"}},
    ],
    ids=str,
)
def test_other_settings_have_their_own_directory(folder, cache, settings):
    one, other = prepare(entry(folder)), prepare(entry(folder, **settings))
    assert one != other
    assert set(cache.iterdir()) == {one, other}


def test_a_changed_checkpoint_has_its_own_directory(folder):
    one = prepare(entry(folder))
    config = folder / "preprocessor_config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(settings | {"image_mean": [0.25, 0.25, 0.25]}), encoding="utf-8")
    other = prepare(entry(folder))
    assert one != other
    assert json.loads((other / "config.json").read_text(encoding="utf-8"))["sfllava"]["geometry"]["mean"] == [0.25] * 3


def test_a_link_that_leads_nowhere_is_repaired(folder, cache):
    out = prepare(entry(folder))
    link = out / "model.safetensors"
    link.unlink()
    link.symlink_to(folder / "moved-away")
    assert prepare(entry(folder)) == out
    assert link.resolve() == folder / "model.safetensors"
    assert list(cache.iterdir()) == [out]


def test_a_half_written_directory_is_completed(folder, cache):
    out = prepare(entry(folder))
    shutil.rmtree(out)
    out.mkdir()
    assert prepare(entry(folder)) == out
    assert (out / "sfllava.json").is_file()


def test_a_failure_halfway_leaves_nothing(folder, cache):
    # Weights are linked after everything else was written.
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no \*\.safetensors"):
        prepare(entry(folder))
    assert list(cache.iterdir()) == []


def test_an_interruption_leaves_nothing(folder, cache):
    # Reading a pipe without a writer blocks the preparation halfway.
    (folder / "generation_config.json").unlink()
    os.mkfifo(folder / "generation_config.json")
    seen, over = [], threading.Event()

    def interrupt():
        deadline = time.monotonic() + 60
        while not (seen or over.is_set()) and time.monotonic() < deadline:
            time.sleep(0.05)
            seen.extend(cache.glob(".*/new/config.json"))
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            prepare(entry(folder))
    finally:
        over.set()
        thread.join()
    assert seen
    assert list(cache.iterdir()) == []


PREPARE_ONE = """
import sys
from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.registry import Entry
prepare(Entry(name="tested", checkpoint=sys.argv[1]))
"""


def test_the_leftovers_of_killed_processes_are_removed_and_no_others(folder, cache):
    ready = prepare(entry(folder, frames=3))
    # Reading a pipe without a writer blocks the preparation halfway.
    (folder / "generation_config.json").unlink()
    os.mkfifo(folder / "generation_config.json")
    other = Path(shutil.copytree(folder, folder.with_name("other"), ignore=lambda *_: ["generation_config.json"]))
    blocked = subprocess.Popen([sys.executable, "-c", PREPARE_ONE, str(folder)])
    try:
        deadline = time.monotonic() + 60
        while not (halfway := list(cache.glob(".*/new/config.json"))) and time.monotonic() < deadline:
            time.sleep(0.05)
        [written] = halfway
        strangers = [cache / ".git", cache / ".tested-0123abcd.writing", cache / ".notes"]
        for stranger in strangers[:2]:
            (stranger / "kept").mkdir(parents=True)
        strangers[2].write_text("kept")
        prepare(entry(other))
        assert written.is_file(), "the process is alive"
        blocked.kill()
        blocked.wait()
        assert written.is_file(), "a killed process cannot tidy up"
        # One that is there already is reason enough.
        assert prepare(entry(other)).is_dir()
        assert set(cache.glob(".*")) == set(strangers)
        assert (ready / "sfllava.json").is_file()
    finally:
        blocked.kill()
        blocked.wait()


PREPARE_MANY = """
import sys
from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.registry import Entry
print("ready", flush=True)
sys.stdin.readline()
for frames in range(1, 11):
    print(prepare(Entry(name="tested", checkpoint=sys.argv[1], frames=frames)), flush=True)
"""


def test_two_processes_at_once(folder, cache):
    command = [sys.executable, "-c", PREPARE_MANY, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    one, other = (process.communicate(timeout=120) for process in processes)
    assert [process.returncode for process in processes] == [0, 0], one[1] + other[1]
    assert one[0] == other[0]
    assert sorted(map(str, cache.iterdir())) == sorted(one[0].split())
    assert len(set(one[0].split())) == 10
    for out in cache.iterdir():
        assert (out / "sfllava.json").is_file()
        assert (out / "model.safetensors").resolve() == folder / "model.safetensors"


@pytest.mark.parametrize(
    ("umask", "directory", "file"), [(0o022, 0o755, 0o644), (0o077, 0o700, 0o600), (0, 0o777, 0o666)]
)
def test_permissions_follow_the_umask(folder, tmp_path, cache, umask, directory, file):
    before = os.umask(umask)
    try:
        kept = prepare(entry(folder))
        named = prepare(entry(folder), tmp_path / "new" / "deep" / "mine")
        prepare(entry(folder, frames=3), named)
    finally:
        os.umask(before)
    for path in (cache.parent, cache, kept, named.parent.parent, named.parent, named):
        assert stat.S_IMODE(path.stat().st_mode) == directory, path
    written = [path for out in (kept, named) for path in out.iterdir() if not path.is_symlink()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {file}


@pytest.mark.parametrize("there", [False, True])
def test_a_named_directory_may_be_new_or_empty(folder, tmp_path, cache, there):
    out = tmp_path / "deep" / "mine"
    if there:
        out.mkdir(parents=True)
    assert prepare(entry(folder), out) == out
    assert (out / "sfllava.json").is_file()
    assert [path.name for path in out.parent.iterdir()] == ["mine"]
    assert not cache.exists()


def test_a_named_model_directory_is_rewritten(folder, tmp_path):
    out = tmp_path / "deep" / "mine"
    prepare(entry(folder, frames=3), out)
    prepare(entry(folder, frames=4), out)
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["sfllava"]["frames"] == 4
    assert [path.name for path in out.parent.iterdir()] == ["mine"]


def test_a_folder_with_other_files_is_left_alone(folder, tmp_path):
    out = tmp_path / "photos"
    out.mkdir()
    (out / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(CheckpointError, match="photos: holds other files; choose an empty or a new folder"):
        prepare(entry(folder), out)
    assert [path.read_bytes() for path in out.iterdir()] == [b"meow"]


def test_a_checkpoint_is_never_written_into(folder):
    before = state(folder)
    with pytest.raises(CheckpointError, match="weights: holds other files"):
        prepare(entry(folder), folder)
    assert state(folder) == before


def test_an_unwritable_folder_is_named(folder, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CheckpointError, match="file/mine: cannot be written: "):
        prepare(entry(folder), tmp_path / "file" / "mine")
