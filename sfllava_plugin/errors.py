"""Errors that end a whole command. Each message is one line."""


class EngineStartError(ValueError):
    """The engine did not start."""


class EngineDied(RuntimeError):
    """The engine died before its work was done.

    The answers it gave are valid; it can give no more.
    """
