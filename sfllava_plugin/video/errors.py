"""Errors between a video and its frames, by whose fault they are.

Imports nothing, so that reporting an error loads no decoder.
"""


class VideoError(ValueError):
    """A video cannot be read as asked.

    The message is one line: which video, and what to do.
    """


class DecodeError(Exception):
    """This reader cannot deliver the frames; another one may."""


class Miscount(Exception):
    """The reader's `count` was wrong: sample again with the new one.

    Also raised when another assumption of the reader turns out wrong.
    """


class DecoderFault(RuntimeError):
    """The program failed to decode a video; the video is not to blame.

    The message names the cause.

    Attributes:
        details: the worker's traceback, for a log.
    """

    def __init__(self, message: str, details: str = ""):
        super().__init__(message)
        self.details = details


class DecoderUnavailable(DecoderFault):
    """No worker can start, or the machine lacks resources.

    Trying again later may help.
    """


class DecodersBusy(DecoderUnavailable):
    """Every worker stayed busy for as long as the video may wait."""


def printable(path: str) -> str:
    """Return ``path`` as one line of text."""
    return path if path.isprintable() else ascii(path)
