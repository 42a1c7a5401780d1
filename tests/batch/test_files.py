"""Rows of questions read, and rows of answers written to a stream."""

import io
import json
from pathlib import Path

import pytest

from sfllava_plugin.batch.files import BatchError, InOrder, Row, dump, read_rows

ROWS = [Row(id=name, video="v.mp4", question="?") for name in ("a", "b", "c")]


def read(*rows: str) -> list[Row]:
    file = io.StringIO("\n".join(rows) + "\n")
    file.name = "questions.jsonl"
    return read_rows(file, Path("/videos"))


def answer(name: str, text: str = "x") -> dict:
    return {"id": name, "text": text}


def test_paths_of_videos_are_relative_to_the_file():
    [one, two] = read(
        '{"id": 1, "video": "a.mp4", "question": "q"}', "", '{"id": 2, "video": "/b.mp4", "question": "q"}'
    )
    assert (one.video, two.video) == ("/videos/a.mp4", "/b.mp4")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "line 2"),
        ("[]", "line 2"),
        ('{"video": "v", "question": "q"}', "line 2: the key 'id' is missing"),
        ('{"id": 2, "question": "q"}', "line 2: the key 'video' is missing"),
        ('{"id": 2, "video": "v", "question": "q", "option": []}', "unknown key 'option': use one of id, video"),
        ('{"id": 2, "video": "v", "question": "q", "max_tokens": 0}', "line 2: max_tokens"),
        ('{"id": 1, "video": "v", "question": "q"}', "line 2: the id 1 is already in line 1"),
    ],
)
def test_an_error_names_the_line(row, words):
    with pytest.raises(BatchError) as error:
        read('{"id": 1, "video": "v", "question": "q"}', row)
    assert words in str(error.value)
    assert str(error.value).startswith("questions.jsonl, line 2")


def test_a_stream_is_written_in_order_without_delay():
    out = io.StringIO()
    stream = InOrder(out, ROWS)
    stream.add(answer("b"))
    assert out.getvalue() == ""
    stream.add(answer("a"))
    assert [json.loads(line)["id"] for line in out.getvalue().splitlines()] == ["a", "b"]
    stream.add({"id": "c", "error": "x"})
    assert stream.failed == {"c"}


def test_a_row_is_one_line_for_every_reader():
    row = {"text": "".join(map(chr, range(0x3000)))}
    assert [json.loads(line) for line in dump(row).splitlines()] == [row]
