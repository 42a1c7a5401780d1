"""Load a server with good and bad requests.

    python -m tests.faults.soak --minutes 20 --clients 8

Prints every minute how many requests were answered and refused, how long they took, and how much memory the server's
processes use. Exits with 1 if a good request got another answer than from `sfllava batch`, a bad one was not refused,
or any got a 5xx.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from sfllava_plugin.shapes import clips
from tests.faults import inputs
from tests.faults.host import serving
from tests.faults.mutations import mutate
from tests.faults.requests import BODIES, NAME, URLS, url_of
from tests.serving import data_url, serve

CLIPS = range(200, 240)
#: Size of the server's cache of frames: small, so that it is soon full.
CACHE_GB = 0.05
#: Words in the command lines of the server's processes.
KINDS = {"isolation.worker": "decoders", "EngineCore": "engine", "VLLM::Worker": "worker", "vllm serve": "server"}
#: URLs that take seconds each.
SLOW = ("a host that does not answer", "more bytes than allowed")


@dataclass
class Count:
    """Outcomes since they were last taken, and every surprise so far."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    outcomes: Counter = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)

    def add(self, outcome: str, seconds: float, surprise: str | None = None) -> None:
        with self.lock:
            self.outcomes[outcome] += 1
            if outcome == "right":
                self.seconds.append(seconds)
            if surprise:
                self.surprises.append(surprise)

    def take(self) -> tuple[Counter, list[float]]:
        with self.lock:
            outcomes, seconds = self.outcomes, self.seconds
            self.outcomes, self.seconds = Counter(), []
            return outcomes, seconds


class Client(threading.Thread):
    """Sends requests one at a time until `stop` is set."""

    def __init__(self, seed: int, url: str, good: list[dict], bad: "Bad", share_bad: float, count: Count):
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self._rng, self._url, self._good, self._bad = random.Random(seed), url, good, bad
        self._share_bad, self._count = share_bad, count

    def run(self) -> None:
        with httpx.Client(timeout=120) as client:
            while not self.stop.is_set():
                begin = time.monotonic()
                try:
                    self._bad_one(client) if self._rng.random() < self._share_bad else self._good_one(client, begin)
                except httpx.HTTPError as error:
                    self._count.add("failed", 0, f"no answer: {error!r}")

    def _good_one(self, client: httpx.Client, begin: float) -> None:
        row = self._rng.choice(self._good)
        # Trailing bytes make it a new video to every cache, and change no frame.
        data = Path(row["video"]).read_bytes() + self._rng.randbytes(8)
        response = client.post(self._url, json=body(data_url(data), row["question"]))
        text = response.json()["choices"][0]["message"]["content"].strip() if response.status_code == 200 else None
        if text == row["text"]:
            self._count.add("right", time.monotonic() - begin)
        else:
            self._count.add("wrong", 0, f"{row['id']}: {response.status_code} {text} instead of {row['text']}")

    def _bad_one(self, client: httpx.Client) -> None:
        name, content, may_work = self._bad.one(self._rng)
        response = client.post(self._url, content=content, headers={"Content-Type": "application/json"})
        if 400 <= response.status_code < 500:
            self._count.add("refused", 0)
        elif may_work and response.status_code == 200:
            self._count.add("survived", 0)
        else:
            self._count.add("surprise", 0, f"{name}: {response.status_code} {response.text[:200]}")


class Bad:
    """Bad requests: files, URLs, bodies, and videos with random damage."""

    def __init__(self, folder: Path, web: str):
        self._folder, self._web = folder, web
        self._damaged = [folder / name for name in ("plain.mp4", "vp8.webm", "motion-jpeg.avi", "stream.ts", "a.gif")]

    def one(self, rng: random.Random) -> tuple[str, bytes, bool]:
        """Return a name, a body, and whether an answer is acceptable."""
        kind = rng.choice(("file", "url", "body", "damaged"))
        if kind == "file":
            video = rng.choice(inputs.BAD)
            return video.name, request((self._folder / video.name).as_uri()), False
        if kind == "url":
            name = rng.choice([name for name in URLS if name not in SLOW])
            return name, request(url_of(name, self._web, self._folder)), False
        if kind == "body":
            name = rng.choice(list(BODIES))
            return name, BODIES[name], False
        path = rng.choice(self._damaged)
        return f"damaged {path.name}", request(data_url(mutate(path.read_bytes(), rng))), True


def body(url: str, question: str) -> dict:
    content = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": question}]
    return {"model": NAME, "messages": [{"role": "user", "content": content}], "max_tokens": 24}


def request(url: str) -> bytes:
    return json.dumps(body(url, inputs.QUESTION.text)).encode()


def good_requests(folder: Path) -> list[dict]:
    """Return questions about clips, with the answers of `sfllava batch`."""
    clips.write_folder(folder, CLIPS)
    rows = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    asked = [row | {"max_tokens": 24} for row in rows if "options" not in row]
    (folder / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    sfllava = Path(sys.executable).with_name("sfllava")
    out = folder / "answers.jsonl"
    subprocess.run([sfllava, "batch", folder / "asked.jsonl", "-o", out, "--model", NAME], check=True)
    answers = {row["id"]: row["text"] for row in map(json.loads, out.read_text().splitlines())}
    return [row | {"video": str(folder / row["video"]), "text": answers[row["id"]]} for row in asked]


def memory() -> dict[str, float]:
    """Return the megabytes (PSS) of child processes by kind, and their number."""
    found = Counter()
    for process in psutil.Process().children(recursive=True):
        try:
            line = " ".join(process.cmdline())
            kind = next((kind for word, kind in KINDS.items() if word in line), "others")
            found[kind] += process.memory_full_info().pss / 2**20
            found["processes"] += 1
        except psutil.Error:
            continue
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--share-bad", type=float, default=1 / 3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        folder = Path(place, "inputs")
        folder.mkdir()
        pictures = inputs.frames()
        for video in inputs.VIDEOS:
            video.write(folder / video.name, pictures)
        good = good_requests(Path(place, "good"))
        arguments = ["--allowed-local-media-path", str(folder), "--allowed-media-domains", "127.0.0.1"]
        arguments += ["--mm-processor-cache-gb", str(CACHE_GB), "--disable-uvicorn-access-log"]
        variables = {
            "VLLM_VIDEO_FETCH_TIMEOUT": "2",
            "VLLM_MEDIA_FETCH_MAX_RETRIES": "1",
            "VLLM_LOGGING_LEVEL": "ERROR",
            # On a CPU, oneDNN caches kernels for 1024 shapes, which looks like a leak until the cache is full.
            "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "8",
        }
        with serving(folder) as web, serve(NAME, *arguments, log=Path(place, "log"), **variables) as url:
            return load(f"{url}/v1/chat/completions", good, Bad(folder, web), given)


def load(url: str, good: list[dict], bad: Bad, given: argparse.Namespace) -> int:
    count, total = Count(), Counter()
    clients = [Client(seed, url, good, bad, given.share_bad, count) for seed in range(given.clients)]
    for client in clients:
        client.start()
    print(
        "minute   right  refused  survived  others  median s  95 % s  MB of server, engine, worker, decoders  processes"
    )
    begin = time.monotonic()
    while time.monotonic() < begin + given.minutes * 60:
        time.sleep(min(60, given.minutes * 60))
        outcomes, seconds = count.take()
        total += outcomes
        held, minute = memory(), (time.monotonic() - begin) / 60
        others = outcomes["wrong"] + outcomes["surprise"] + outcomes["failed"]
        low, high = (statistics.quantiles(seconds, n=20)[i] for i in (9, 18)) if len(seconds) > 1 else (0, 0)
        print(
            f"{minute:6.1f} {outcomes['right']:7} {outcomes['refused']:8} {outcomes['survived']:9} {others:7} "
            f"{low:9.2f} {high:7.2f} {held['server']:13.0f} {held['engine']:7.0f} {held['worker']:7.0f} "
            f"{held['decoders']:9.0f} {held['processes']:10.0f}",
            flush=True,
        )
    for client in clients:
        client.stop.set()
    for client in clients:
        client.join(timeout=120)
    print(f"total: {dict(total)}")
    for surprise in count.surprises[:20]:
        print(surprise)
    return 1 if count.surprises else 0


if __name__ == "__main__":
    os.environ["no_proxy"] = "*"
    sys.exit(main())
