"""Bad requests to the server: URLs that lead nowhere or where they should not, and bodies that are no request."""

import json
from pathlib import Path

NAME = "sf-llava-tiny"

#: URLs, with gaps for the host's address, its port and the folder with the videos; and words of the error.
URLS = {
    "another domain": ("http://localhost:{port}/plain.mp4", "allowed domains"),
    "another domain, by redirect": ("{web}/redirect?http://localhost:{port}/plain.mp4", "no video|video"),
    "a file, by redirect": ("{web}/redirect?file:///etc/passwd", "video|fetch"),
    "a user's name for a domain": ("http://127.0.0.1@localhost:{port}/plain.mp4", "allowed domains"),
    "a backslash": ("http://localhost\\@127.0.0.1:{port}/plain.mp4", "."),
    "not there": ("{web}/not-there.mp4", "404"),
    "a host that is busy": ("{web}/busy", "503"),
    "a host that does not answer": ("{web}/slow", "does not answer"),
    "nobody listens": ("http://127.0.0.1:9/a.mp4", "does not answer"),
    "more than it said": ("{web}/large", "exceeds|larger"),
    "less than it said": ("{web}/short", "does not answer|fetch"),
    "no host": ("http:///a.mp4", "."),
    "no port": ("http://127.0.0.1:99999/a.mp4", "."),
    "ftp": ("ftp://127.0.0.1/a.mp4", "must be either"),
    "a bare path": ("/etc/passwd", "must be either"),
    "nothing": ("", "."),
    "no data": ("data:video/mp4;base64,", "is empty"),
    "data that is no base64": ("data:video/mp4;base64,@@@", "base64|ase64|padding|character"),
    "data without a comma": ("data:video/mp4", "missing"),
    "data in plain": ("data:video/mp4,abc", "base64"),
    "a folder up": ("{media}/../secret.mp4", "not in a folder"),
    "a folder up, hidden": ("{media}/%2e%2e/secret.mp4", "not in a folder"),
    "another machine's file": ("file://elsewhere/plain.mp4", "not in a folder"),
    "a zero byte": ("{media}/plain.mp4%00.txt", "null|zero|cannot be opened"),
    "the folder itself": ("{media}", "not in a folder|not a file"),
    "no JPEG": ("data:video/jpeg;base64,AAAA,BBBB", "frame 0 is not a JPEG"),
    "an empty JPEG": ("data:video/jpeg;base64,", "frame 0 is not a JPEG"),
}


def url_of(name: str, web: str, folder: Path) -> str:
    """One of them: ``web`` is the host's address."""
    return URLS[name][0].format(web=web, port=web.rpartition(":")[2], media=folder.as_uri())


def body_of(messages) -> bytes:
    return json.dumps({"model": NAME, "messages": messages}).encode()


BODIES = {
    "no JSON": b"{",
    "no object": b"[]",
    "a number": b"5",
    "nothing": b"",
    "not UTF-8": b'{"model": "\xff"}',
    "deep": b"[" * 100_000,
    "no messages": json.dumps({"model": NAME}).encode(),
    "empty messages": body_of([]),
    "messages of no kind": body_of([5]),
    "content of no kind": body_of([{"role": "user", "content": [{"type": "x"}]}]),
    "video of no kind": body_of([{"role": "user", "content": [{"type": "video_url", "video_url": 5}]}]),
    "another model": json.dumps({"model": "other", "messages": [{"role": "user", "content": "hello"}]}).encode(),
}
