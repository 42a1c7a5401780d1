"""Small checkpoints of every family (tests/reference_family)."""

from tests.reference_family.conftest import checkpoint

__all__ = ["checkpoint"]
