"""Bad requests: URLs that must not or cannot be fetched, malformed bodies."""

import json
from pathlib import Path

NAME = "sf-llava-tiny"

#: URLs, with placeholders for the host's address, its port and the folder of videos; and expected errors.
URLS = {
    "another domain": ("http://localhost:{port}/plain.mp4", "allowed domains"),
    "another domain, by redirect": ("{web}/redirect?http://localhost:{port}/plain.mp4", "no video|video"),
    "a file, by redirect": ("{web}/redirect?file:///etc/passwd", "video|fetch"),
    "a domain as a user's name": ("http://127.0.0.1@localhost:{port}/plain.mp4", "allowed domains"),
    "a backslash": ("http://localhost\\@127.0.0.1:{port}/plain.mp4", "."),
    "not there": ("{web}/not-there.mp4", "404"),
    "a busy host": ("{web}/busy", "503"),
    "a host that does not answer": ("{web}/slow", "does not answer"),
    "no host at this port": ("http://127.0.0.1:9/a.mp4", "does not answer"),
    "more bytes than allowed": ("{web}/large", "exceeds|larger"),
    "fewer bytes than announced": ("{web}/short", "does not answer|fetch"),
    "no host": ("http:///a.mp4", "."),
    "no port": ("http://127.0.0.1:99999/a.mp4", "."),
    "ftp": ("ftp://127.0.0.1/a.mp4", "must be either"),
    "a bare path": ("/etc/passwd", "must be either"),
    "nothing": ("", "."),
    "no data": ("data:video/mp4;base64,", "is empty"),
    "data not in base64": ("data:video/mp4;base64,@@@", "base64|ase64|padding|character"),
    "data without a comma": ("data:video/mp4", "missing"),
    "plain data": ("data:video/mp4,abc", "base64"),
    "the parent folder": ("{media}/../secret.mp4", "not in a folder"),
    "the parent folder, escaped": ("{media}/%2e%2e/secret.mp4", "not in a folder"),
    "another machine's file": ("file://elsewhere/plain.mp4", "not in a folder"),
    "a zero byte": ("{media}/plain.mp4%00.txt", "null|zero|cannot be opened"),
    "the folder itself": ("{media}", "not in a folder|not a file"),
    "not a JPEG": ("data:video/jpeg;base64,AAAA,BBBB", "frame 0 is not a JPEG"),
    "an empty JPEG": ("data:video/jpeg;base64,", "frame 0 is not a JPEG"),
}


def url_of(name: str, web: str, folder: Path) -> str:
    """Fill in the placeholders of a URL; ``web`` is the host's address."""
    return URLS[name][0].format(web=web, port=web.rpartition(":")[2], media=folder.as_uri())


def body_of(messages) -> bytes:
    return json.dumps({"model": NAME, "messages": messages}).encode()


BODIES = {
    "not JSON": b"{",
    "not an object": b"[]",
    "a number": b"5",
    "nothing": b"",
    "not UTF-8": b'{"model": "\xff"}',
    "deeply nested": b"[" * 100_000,
    "no messages": json.dumps({"model": NAME}).encode(),
    "empty messages": body_of([]),
    "messages of a wrong type": body_of([5]),
    "content of an unknown type": body_of([{"role": "user", "content": [{"type": "x"}]}]),
    "a video of a wrong type": body_of([{"role": "user", "content": [{"type": "video_url", "video_url": 5}]}]),
    "another model": json.dumps({"model": "other", "messages": [{"role": "user", "content": "hello"}]}).encode(),
}
