"""Weights from and to files: pretrained encoders, PyTorch's formats read and written."""
