"""lmms-eval's side: the model adapter `sfllava`, and tasks. The only part that imports lmms_eval."""
