"""Output to full or read-only disks, missing homes and shared files."""

import json
import os
import subprocess
import sys
import time

import pytest

#: A batch without an engine: long answers, one at a time.
BATCH = """
import sys, time
from sfllava_plugin import cli
from sfllava_plugin.batch import command as batch_command
def answering(rows):
    for row in rows:
        time.sleep(float(sys.argv[3]))
        yield {"id": row.id, "text": str(row.id) * 500}
def main(): sys.exit(batch_command.run(sys.argv[1], sys.argv[2], answering, lambda: {"model": "?"}))
cli.app = lambda *arguments, **how: main()
cli.main()
"""
COUNT = 200

JOURNAL = """
import sys
from pathlib import Path
from sfllava_plugin.evaluation.journal import Journal
journal = Journal(Path(sys.argv[1]), {"a": "run"})
found = [number for number in range(200) if journal.get(str(number))]
assert all(journal.get(str(number)) == {"text": str(number) * 500} for number in found)
for number in range(200):
    if number not in found:
        journal.add(str(number), {"text": str(number) * 500})
journal.close()
print(len(found))
"""


@pytest.fixture
def on_small_disk(tmp_path):
    """on_small_disk(script): run a shell script with 64 kB at $DISK.

    That is a file system of its own.
    """
    disk = tmp_path / "disk"
    disk.mkdir()

    def run(script, **variables):
        alone = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
        script = 'set -u; mount -t tmpfs -o size=64k tmpfs "$DISK"\n' + script
        variables = {"DISK": str(disk), "PYTHON": sys.executable, **variables}
        return subprocess.run(
            [*alone, "bash", "-c", script], env=os.environ | variables, capture_output=True, text=True
        )

    return run


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    rows = ({"id": number, "video": "v.mp4", "question": "?"} for number in range(COUNT))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def complete(text):
    rows = [json.loads(line) for line in text.splitlines()]
    return rows == [{"id": number, "text": str(number) * 500} for number in range(COUNT)]


def test_a_batch_continues_once_a_full_disk_has_room(on_small_disk, questions):
    done = on_small_disk(
        """
        "$PYTHON" -c "$PROGRAM" "$QUESTIONS" "$DISK/out.jsonl" 0; echo "code $?" >&2
        ls -A "$DISK" >&2
        mount -o remount,size=10m "$DISK"
        "$PYTHON" -c "$PROGRAM" "$QUESTIONS" "$DISK/out.jsonl" 0 >&2; echo "code $?" >&2
        cat "$DISK/out.jsonl"; ls -A "$DISK" >&2
        """,
        PROGRAM=BATCH,
        QUESTIONS=str(questions),
    )
    said = done.stderr.splitlines()
    [error] = [line for line in said if line.startswith("sfllava: ")]
    assert "out.jsonl: cannot be written: No space left on device; finished answers are kept" in error
    assert [line for line in said if line.startswith(("code", "out"))] == [
        "code 2", "out.jsonl.part", "code 0", "out.jsonl", "out.jsonl.keys"
    ]  # fmt: skip
    assert "Traceback" not in done.stderr
    assert complete(done.stdout)
    # Answers that fitted the first time were not asked for again.
    [summary] = [line for line in said if "answered" in line and "before" in line]
    assert 0 < int(summary.split(" ")[0]) < COUNT


def test_a_batch_without_room_for_the_sorted_copy(on_small_disk, questions):
    """The answers fit, but not together with their sorted copy."""
    done = on_small_disk(
        """
        mount -o remount,size=400k "$DISK"
        "$PYTHON" -c "$PROGRAM" "$QUESTIONS" "$DISK/out.jsonl" 0; echo "code $?" >&2
        ls -A "$DISK" >&2
        mount -o remount,size=10m "$DISK"
        "$PYTHON" -c "$PROGRAM" "$QUESTIONS" "$DISK/out.jsonl" 0; echo "code $?" >&2
        cat "$DISK/out.jsonl"
        """,
        PROGRAM=BATCH,
        QUESTIONS=str(questions),
    )
    said = done.stderr.splitlines()
    assert [line for line in said if line.startswith(("code", "out"))] == ["code 2", "out.jsonl.part", "code 0"]
    assert complete(done.stdout)


def test_an_evaluation_survives_a_full_disk(on_small_disk):
    done = on_small_disk(
        """
        "$PYTHON" -c "$PROGRAM" "$DISK/journals"; echo "code $?"
        mount -o remount,size=10m "$DISK"
        "$PYTHON" -c "$PROGRAM" "$DISK/journals"; echo "code $?"
        "$PYTHON" -c "$PROGRAM" "$DISK/journals"
        """,
        PROGRAM=JOURNAL,
    )
    first, code, second, code_again, third = done.stdout.splitlines()
    assert (first, code, code_again, third) == ("0", "code 0", "code 0", "200")
    assert 0 < int(second) < 200
    [error] = done.stderr.splitlines()
    assert "cannot be written: No space left on device; the evaluation continues" in error


def test_an_evaluation_survives_a_read_only_cache(on_small_disk):
    done = on_small_disk(
        """
        mkdir "$DISK/journals"; mount -o remount,ro "$DISK"
        "$PYTHON" -c "$PROGRAM" "$DISK/journals"; echo "code $?"
        """,
        PROGRAM=JOURNAL,
    )
    assert done.stdout.splitlines() == ["0", "code 0"]
    assert "Read-only file system; the evaluation continues" in done.stderr


PREPARE = '"$PYTHON" -m sfllava_plugin.cli prepare sf-llava-tiny; echo "code $?"\n'


def test_a_full_disk_leaves_no_half_prepared_model(on_small_disk):
    done = on_small_disk(
        f"""
        export SFLLAVA_CACHE="$DISK"; mount -o remount,size=8k "$DISK"
        {PREPARE}
        find "$DISK" -type f -o -type l
        mount -o remount,size=10m "$DISK"
        {PREPARE}
        """
    )
    first, directory, second = done.stdout.splitlines()
    assert (first, second) == ("code 2", "code 0")
    [error] = done.stderr.splitlines()
    assert "cannot be written: No space left on device; set SFLLAVA_CACHE to another folder" in error
    assert directory.split("/")[-1].startswith("sf-llava-tiny-")


def test_a_model_in_a_read_only_cache_can_be_used(on_small_disk):
    done = on_small_disk(
        f"""
        export SFLLAVA_CACHE="$DISK"; mount -o remount,size=10m "$DISK"
        {PREPARE}
        mount -o remount,ro "$DISK"
        {PREPARE}
        "$PYTHON" -m sfllava_plugin.cli prepare "$CHECKPOINT"; echo "code $?"
        """,
        CHECKPOINT="models/sf-llava-tiny",
    )
    first, code, second, code_again, code_other = done.stdout.splitlines()
    assert (code, code_again, code_other) == ("code 0", "code 0", "code 2")
    assert first == second
    [error] = done.stderr.splitlines()
    assert "Read-only file system; set SFLLAVA_CACHE to another folder" in error


def test_a_missing_home():
    variables = {k: v for k, v in os.environ.items() if k not in ("SFLLAVA_CACHE", "XDG_CACHE_HOME", "HF_HOME")}
    # Not even root can create it under /proc.
    call = [sys.executable, "-m", "sfllava_plugin.cli", "prepare", "sf-llava-tiny"]
    done = subprocess.run(call, env=variables | {"HOME": "/proc/nobody"}, capture_output=True, text=True)
    assert done.returncode == 2
    [error] = done.stderr.splitlines()
    assert error.startswith("sfllava: /proc/nobody/.cache/sfllava/models/")
    assert error.endswith("set SFLLAVA_CACHE to another folder")


def test_two_batches_with_one_output_do_not_mix(questions, tmp_path):
    out = tmp_path / "out.jsonl"
    call = [sys.executable, "-c", BATCH, questions, out]
    first = subprocess.Popen([*call, "0.02"], stderr=subprocess.PIPE, text=True)
    while not (part := tmp_path / "out.jsonl.part").exists() or not part.stat().st_size:
        assert first.poll() is None
        time.sleep(0.01)
    second = subprocess.run([*call, "0"], capture_output=True, text=True)
    assert second.returncode == 2
    assert "out.jsonl.part: another process is writing it" in second.stderr
    first.communicate()
    assert first.returncode == 0
    assert complete(out.read_text())


def test_many_batches_with_one_output_leave_one_whole_file(questions, tmp_path):
    """Whichever comes first, the file is whole and no other is left."""
    out = tmp_path / "out.jsonl"
    call = [sys.executable, "-c", BATCH, questions, out, "0.001"]
    running = [subprocess.Popen(call, stderr=subprocess.DEVNULL) for _ in range(6)]
    codes = [process.wait() for process in running]
    assert 0 in codes and set(codes) <= {0, 2}
    assert complete(out.read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "out.jsonl.keys", "questions.jsonl"]


@pytest.mark.parametrize("place", ["/dev/null", "."])
def test_an_output_that_is_not_a_file(questions, place):
    done = subprocess.run([sys.executable, "-c", BATCH, questions, place, "0"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "is not a file; give a file, or - for standard output" in done.stderr
    assert not os.path.exists("/dev/null.part")
