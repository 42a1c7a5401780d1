"""Load media for vLLM: connector, video loader, limits and HTTP errors."""
