"""Lists of splits as text, whatever their form: text, CSV and NumPy arrays."""

import io
import os

import numpy as np

from ipixmatch_jax.data.files.split_lists import decoded
from ipixmatch_jax.npy_header import read_npy_header

# Forms that are no text.
ARRAYS = (".npy",)


def list_text(content: bytes, path: str) -> str:
    """The text of a list: a line per name.

    Args:
        content: the bytes of the file.
        path: its name, whose ending tells the form.

    Raises:
        ValueError: not a text, or not an array of names.
    """
    ending = os.path.splitext(path)[1].lower()
    return _of_array(content) if ending in ARRAYS else decoded(content)


def _of_array(content: bytes) -> str:
    """The names or numbers of an array [N] or [N,1]."""
    shape, _, dtype = read_npy_header(io.BytesIO(content))
    if dtype.kind not in "USiu" or len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
        raise ValueError("no array of names")
    array = np.load(io.BytesIO(content), allow_pickle=False).ravel()
    names = array.astype(str) if array.dtype.kind != "S" else np.char.decode(array, "utf-8")
    return "\n".join(names.tolist())
