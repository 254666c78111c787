"""Pictures for people: colored masks, overlays, and validation images side by side."""
