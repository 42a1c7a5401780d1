"""A second implementation of the LLaVA family.

Plain, slow, and independent of the package. Written from the specification alone, in numpy, PIL and torch, with
transformers' own models in float32 and eager attention. Sizes are (height, width); frames are uint8 [T, S, S, 3].
"""
