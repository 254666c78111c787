"""The numbers of a tensor from its raw bytes, the same way for every file format."""

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def from_bytes(raw: bytes, dtype: DTypeLike) -> np.ndarray:
    """Little-endian values of a dtype, [n]; bfloat16 becomes float32, which is exact."""
    values = np.frombuffer(raw, dtype)
    return values.astype(np.float32) if values.dtype == BFLOAT16 else values
