"""LabelMe files in a code page of Windows: read if their content tells which one, else refused.

labelme 3 and 4 for Windows wrote names in the code page of the system, which no file states.
"""

import json
import posixpath
from collections.abc import Collection
from typing import Any

from ipixmatch_jax.data.importers.contents import not_unicode
from ipixmatch_jax.data.importers.names import folded

_CODE_PAGES = ("gbk", "cp932", "cp949", "cp950", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254")


def in_code_page(data: bytes, images: Collection[str], path: str) -> tuple[dict, str]:
    """The content of a LabelMe file that is not UTF-8, and its code page ('' if it is all one).

    The labels are certain if every code page gives the same, or if only those code pages that give
    the same make imagePath the name of an existing image.

    Args:
        data: the bytes of the file.
        images: names of existing images, `folded`.
        path: the file, for messages.

    Raises:
        DataError: the code page is not certain.
    """
    found = {page: content for page in _CODE_PAGES if (content := _parsed(data, page))}
    proven = {page: content for page, content in found.items() if _image(content) in images}
    if len({_image(content) for content in proven.values()}) > 1:
        proven = {}
    for known in (proven, found):
        if known and len({_labels(content) for content in known.values()}) == 1:
            page, content = next(iter(known.items()))
            return content, page if proven else ""
    raise not_unicode(data, path)


def _parsed(data: bytes, page: str) -> dict[str, Any] | None:
    try:
        content = json.loads(data.decode(page))
        return content if _labels(content) and _image(content) else None
    except (ValueError, RecursionError, KeyError, TypeError):
        return None


def _labels(content: dict) -> tuple[str, ...]:
    return ("labels", *(str(shape["label"]) for shape in content["shapes"]))


def _image(content: dict) -> str:
    return folded(posixpath.basename(str(content["imagePath"]).replace("\\", "/")))
