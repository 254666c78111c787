"""The command line: flags, flags of JAX and absl, and the terminal."""
