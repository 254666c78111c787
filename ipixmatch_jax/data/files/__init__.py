"""Image, mask and list files: found, read, and served as records."""
