"""Detect servers, and add `Retry-After` to their responses with status 503.

Only a server refuses a video that waits too long for a decoder. vLLM's errors carry a status and a message but no
headers, so its option `--middleware` adds ours.
"""

from typing import TYPE_CHECKING

from sfllava_plugin.engine import explicit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from vllm.engine.arg_utils import EngineArgs

#: A short video takes a few seconds, and so do most shortages.
RETRY_SECONDS = 5
_HEADER = b"retry-after"
_MIDDLEWARE = f"{__name__}.RetryAfter"

_is_server = False


def is_server() -> bool:
    """Tell whether this process serves clients, which can try again later."""
    return _is_server


def enable(arguments: "EngineArgs") -> None:
    """Behave as a server if the arguments come from `vllm serve`.

    `vllm run-batch` and the like have no middleware.
    """
    global _is_server
    command = explicit.command(arguments)
    if command is None or (chosen := getattr(command, "middleware", None)) is None:
        return
    _is_server = True
    if _MIDDLEWARE not in chosen:
        command.middleware = [*chosen, _MIDDLEWARE]


class RetryAfter:
    """An ASGI middleware which adds `Retry-After` to responses with status 503."""

    def __init__(self, app: "ASGIApp"):
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        async def send_with_header(message: "Message") -> None:
            if message["type"] == "http.response.start" and message["status"] == 503:
                headers = [*message.get("headers", ()), (_HEADER, str(RETRY_SECONDS).encode())]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_header)
