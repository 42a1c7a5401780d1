"""Errors of comparing. Each message is one line."""


class FolderError(ValueError):
    """A folder without usable results: wrong input."""


class Unpaired(ValueError):
    """Results that cannot be compared: other questions, repeated ids, unfinished runs."""
