"""From the tower's features to the language model's tokens. Needs torch only where tokens are made."""
