"""What a server does and a job does not: it refuses a video that waits too long, and says when to try again.

vLLM's errors carry a status and a message, no headers. Its option `--middleware` takes code that sees every answer.
"""

from typing import TYPE_CHECKING, Any

from sfllava_plugin.engine import explicit

if TYPE_CHECKING:
    from vllm.engine.arg_utils import EngineArgs

#: A quick video takes seconds, and so does a machine that has run out of something.
RETRY_SECONDS = 5
_HEADER = b"retry-after"
_MIDDLEWARE = f"{__name__}.RetryAfter"

_is_server = False


def is_server() -> bool:
    """Whether this process answers clients, who can be told to come back."""
    return _is_server


def choose(arguments: "EngineArgs") -> None:
    """Behave as a server if these are one's arguments; `vllm run-batch` and the like have no middleware."""
    global _is_server
    command = explicit.command(arguments)
    if (chosen := getattr(command, "middleware", None)) is None:
        return
    _is_server = True
    if _MIDDLEWARE not in chosen:
        command.middleware = [*chosen, _MIDDLEWARE]


class RetryAfter:
    """An ASGI middleware that adds `Retry-After` to answers with status 503."""

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope, receive, send) -> None:
        async def send_with_header(message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 503:
                headers = [*message.get("headers", ()), (_HEADER, str(RETRY_SECONDS).encode())]
                message = message | {"headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_header)
