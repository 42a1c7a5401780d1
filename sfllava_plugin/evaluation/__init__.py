"""The lmms-eval half: the model `sfllava` and our tasks. Nothing else in the package imports lmms_eval."""
