"""The model inside vLLM: processor, tower, projector and language model."""
