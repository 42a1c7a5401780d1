"""Confined worker processes that decode videos."""
