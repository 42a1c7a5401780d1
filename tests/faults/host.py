"""A web host with a folder of files, which can misbehave."""

import functools
import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class _Host(http.server.SimpleHTTPRequestHandler):
    """Serves the files; /busy, /slow and so on misbehave."""

    def do_GET(self):
        behaviour = self.path.split("?")[0].strip("/").split("/")[0]
        if hasattr(self, f"be_{behaviour}"):
            getattr(self, f"be_{behaviour}")()
        else:
            super().do_GET()

    def be_busy(self):
        self.send_error(503)

    def be_slow(self):
        time.sleep(20)

    def be_redirect(self):
        self.send_response(302)
        self.send_header("Location", self.path.partition("?")[2])
        self.end_headers()

    def be_large(self):
        self.send_response(200)
        self.end_headers()
        for _ in range(4096):
            self.wfile.write(bytes(2**20))

    def be_short(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"\0\0\0\x20ftypisom")

    def log_message(self, *_):
        pass


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Print nothing: clients that hang up early are expected."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run a host with the files of ``folder``, and yield its address."""
    with _Server(("127.0.0.1", 0), functools.partial(_Host, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
