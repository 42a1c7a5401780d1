"""Training of sf-llava-tiny from scratch: `python -m training.train`.

Not part of the installed package.
"""
