"""Readers of video files: frames by number, with decord or PyAV."""
