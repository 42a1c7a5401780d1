"""Errors that end a whole command, whatever it was asked. Their messages are one line."""


class EngineStartError(ValueError):
    """The engine did not start."""


class EngineDied(RuntimeError):
    """The engine ended before its work was done. Nothing more can be asked; what was answered is right."""
