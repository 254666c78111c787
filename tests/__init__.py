"""Tests mirror the package: tests/ROOM/test_FILE.py."""
