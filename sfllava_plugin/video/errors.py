"""What can go wrong between a video and its frames, and whose fault it is.

Imports nothing: whoever reports errors tells these apart without loading a decoder.
"""


class VideoError(ValueError):
    """A video that cannot be read as asked. The message: one line, which video, what to do."""


class DecodeError(Exception):
    """This decoder cannot deliver the frames; another may."""


class Miscount(Exception):
    """What a reader took for granted is wrong, its `count` for one; choose the frames again by what it says now."""


class DecoderFault(RuntimeError):
    """The program failed to decode a video; the message names the cause.

    Attributes:
        details: the traceback of the process that decodes, for a log.
    """

    def __init__(self, message: str, details: str = ""):
        super().__init__(message)
        self.details = details


class DecoderUnavailable(DecoderFault):
    """No decoder could be had: none starts, or the machine lacks something. Later one may."""


class DecodersBusy(DecoderUnavailable):
    """Every decoder was busy for as long as a video may wait."""


def printable(path: str) -> str:
    """``path`` as one line of text."""
    return path if path.isprintable() else ascii(path)
