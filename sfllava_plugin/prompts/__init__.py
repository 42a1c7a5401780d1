"""From a question to the text that the language model reads, and from its reply to a choice."""

from sfllava_plugin.prompts.template import VIDEO_MARKER, PromptError, chat_template, render
from sfllava_plugin.prompts.wrappers import FAMILIES

__all__ = ["FAMILIES", "VIDEO_MARKER", "PromptError", "chat_template", "render"]
