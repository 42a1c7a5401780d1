"""From any checkpoint of the LLaVA family to a model directory that vLLM loads as it is."""
