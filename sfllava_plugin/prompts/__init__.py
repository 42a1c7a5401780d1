"""Prompts: wrap a question for the language model, and read the choice from its reply."""

from sfllava_plugin.prompts.template import VIDEO_MARKER, PromptError, chat_template, render
from sfllava_plugin.prompts.wrappers import FAMILIES

__all__ = ["FAMILIES", "VIDEO_MARKER", "PromptError", "chat_template", "render"]
