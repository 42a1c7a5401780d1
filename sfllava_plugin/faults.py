"""Errors that are the program's or the machine's, never the video's or the user's.

Imports nothing: whoever reports errors tells these apart without loading a decoder.
"""


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
