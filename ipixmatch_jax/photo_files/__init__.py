"""Photos that a command names: which files they are, and which results already belong to them."""
