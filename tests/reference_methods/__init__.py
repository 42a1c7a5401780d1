"""References of the methods that SlowFast-LLaVA is compared with: loops, from their papers and published programs.

Nothing here imports the package. Towers and projectors are transformers' (reference_family.models).
"""
