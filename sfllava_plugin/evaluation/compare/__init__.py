"""Compare result folders of lmms-eval, question by question.

Imports neither lmms_eval nor vllm: it reads files, and `versus` runs lmms-eval as a child.
"""
