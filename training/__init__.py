"""How sf-llava-tiny is trained from nothing: `python -m training.train`. Not part of the installed package."""
