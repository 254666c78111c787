"""Devices, processes, stop signals and memory."""
