"""The model `sfllava` for lmms-eval, and our tasks.

Nothing else in the package imports lmms_eval.
"""
