"""vLLM's media connector with one fault mended: a `file:` URL that cannot be opened is the client's error, not ours.

vLLM 0.32 answers it with 500. Everything else, fetching, redirects, sizes and what may be opened at all, is vLLM's
(vllm/multimodal/media/connector.py); its registry of connectors takes ours, and the environment chooses one.
"""

import os
from contextlib import contextmanager
from pathlib import PurePosixPath

#: The connector's name in vLLM's variable VLLM_MEDIA_CONNECTOR.
NAME = "sfllava"


def register() -> None:
    """Enter the connector; `choose` makes vLLM use it."""
    from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector

    class SlowFastMediaConnector(MediaConnector):
        def load_from_url(self, url, media_io, **kwargs):
            with _client_error(url):
                return super().load_from_url(url, media_io, **kwargs)

        async def load_from_url_async(self, url, media_io, **kwargs):
            with _client_error(url):
                return await super().load_from_url_async(url, media_io, **kwargs)

    MEDIA_CONNECTOR_REGISTRY.register(NAME)(SlowFastMediaConnector)


def choose() -> None:
    """Use the connector in this process, unless the operator chose another."""
    os.environ.setdefault("VLLM_MEDIA_CONNECTOR", NAME)


@contextmanager
def _client_error(url: str):
    try:
        yield
    except OSError as error:
        # Over the network an OSError may be gone the next time: those stay as vLLM has them.
        if not url.lower().startswith("file:"):
            raise
        # The client knows the folder; whoever reads the message need not.
        name = PurePosixPath(url).name
        raise ValueError(f"{name} cannot be opened: {error.strerror}; check the URL") from error
