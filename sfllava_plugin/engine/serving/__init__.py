"""Load media for vLLM within limits: the connector, the video loader, and errors with the right HTTP status."""
