"""Check that a video and its time instruction leave room for a question."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sfllava_plugin import registry
from sfllava_plugin.checkpoints.video_config import VideoConfig
from sfllava_plugin.prompts.time_instruction import longest_instruction

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def shortage(
    video: VideoConfig, frames: int, context: int, load_tokenizer: Callable[[], "PreTrainedTokenizerBase"]
) -> str | None:
    """Say why a video leaves no room; None if it does.

    Args:
        frames: of the video.
        load_tokenizer: called only if the count is close, as loading one takes a second.
    """
    tokens, instruction = video.tokens(frames), 0
    if video.time_instruction:
        text = longest_instruction(frames, registry.load().limits.duration_seconds)
        # No tokenizer makes more than one token of an ASCII character.
        if tokens < context <= tokens + len(text):
            instruction = len(load_tokenizer().encode(text, add_special_tokens=False))
    if tokens + instruction < context:
        return None
    more = f", the time instruction up to {instruction} more" if instruction else ""
    return f"{frames} frames through {video.pathways} take {tokens} tokens{more}, and the context is {context}"
