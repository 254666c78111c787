"""What a class file states."""

import re
from dataclasses import dataclass

Color = tuple[int, int, int]


@dataclass(frozen=True)
class ClassFile:
    """The content of a class file.

    Attributes:
        path: the file; '' if there is none.
        names: class names in the order of the ids.
        palette: one color per class; ().
        values: the stored value of each class, if the file states them; ().
        ignored: stored values that mean ignore, such as nnU-Net's label `ignore`; ().
        unlisted: no class is black, and black is the background: Datumaro and CVAT leave it out.
    """

    path: str = ""
    names: tuple[str, ...] = ()
    palette: tuple[Color, ...] = ()
    values: tuple[int, ...] = ()
    ignored: tuple[int, ...] = ()
    unlisted: bool = False


def mapped_classes(content: dict) -> ClassFile:
    """`{"0": "sky"}`, `{"sky": 0}` or `{"sky": [red, green, blue]}`."""
    if content and all(isinstance(value, list) for value in content.values()):
        colors = [tuple(map(int, color)) for color in content.values()]
        if any(len(color) != 3 for color in colors):
            raise ValueError("expected three numbers for each color")
        return ClassFile("", tuple(content), tuple(colors))
    if content and all(re.fullmatch("#[0-9A-Fa-f]{6}", str(v)) for v in content.values()):
        return ClassFile("", tuple(content), tuple(map(color_of, content.values())))
    if content and all(re.fullmatch("#[0-9A-Fa-f]{6}", key) for key in content):
        # A2D2's class_list.json.
        return ClassFile("", tuple(map(str, content.values())), tuple(map(color_of, content)))
    if all(isinstance(value, str) for value in content.values()):
        pairs = sorted((int(key), name) for key, name in content.items())
    else:
        pairs = sorted((int(number), name) for name, number in content.items())
    values = tuple(number for number, _ in pairs)
    if len(set(values)) < len(values):
        raise ValueError("a number occurs twice; expected one for each class")
    names = tuple(name for _, name in pairs)
    if values == tuple(range(1, len(values) + 1)):
        return ClassFile("", ("background", *names))
    return ClassFile("", names, (), () if values == tuple(range(len(values))) else values)


def color_of(value: object) -> Color:
    """The color of `#ff0000`, or of a list of three numbers or more."""
    hexadecimal = isinstance(value, str)
    color = tuple(bytes.fromhex(value.lstrip("#"))) if hexadecimal else tuple(map(int, value))
    if len(color) < 3 or (hexadecimal and len(color) != 3):
        raise ValueError("expected colors such as #ff0000 or [255, 0, 0]")
    return color[:3]
