"""Class names in lines of text, with the stored value or the color of each class."""

import re

# `2 dog`, `2: dog`, `2,dog`; a color in front of a name is another form.
NUMBERED = re.compile(r"\s*(\d+)\s*[\s:,;=]\s*([^\s\d:,;=].*?)\s*$")
_SEPARATED = re.compile(r"\s*\d+\s*[:,;=]")
# `dog 2`, `dog: 2`, `dog,2`
_NUMBER_LAST = re.compile(r"\s*([^\s\d:,;=#].*?)\s*([\s:,;=])\s*(\d+)\s*$")
# `2 0 0 255 dog`, and ITK-SNAP's `2 0 0 255 1 1 1 "dog"`
_COLOR_INSIDE = re.compile(
    r"\s*(\d+)[\s,;]+(\d+)[\s,;]+(\d+)[\s,;]+(\d+)[\s,;]+(?:[\d.]+\s+[01]\s+[01]\s+)?"
    r'"?([^\s\d"][^"]*?)"?\s*$'
)
# `dog 0 0 255 255`, with the opacity last
_OPAQUE = re.compile(r"(.*[^\s\d,;].*?[\s,;]+\d+[\s,;]+\d+[\s,;]+\d+)[\s,;]+(0|255)\s*$")
_HEADS = frozenset("id ids idx index no number value pixel_value name names class classes label"
                   " labels category".split())  # fmt: skip
# `sky 0 0 255`, `sky,0,0,255`, `sky: [0, 0, 255]` and `sky #0000ff`.
_COLORED = re.compile(r"\s*(\S.*?)[\s:,;=(\[]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})[)\]]*\s*$")
_HEXADECIMAL = re.compile(r"\s*(\S.*?)[\s:,;=]+#([0-9A-Fa-f]{6})\s*$")
_IGNORED = ("__ignore__", "_ignore_", "ignore")


def class_lines(
    text: str,
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...], tuple[int, ...]]:
    """`NAME` or `NAME RED GREEN BLUE` per line; LabelMe's `__ignore__` names no class.

    If every line begins or ends with a number, it is the stored value of the class: `2 dog`,
    `2: dog` or `dog: 2`; from 1 on, 0 is the background. A heading such as `id,name` is skipped.
    """
    names, palette = [], []
    lines, values = _numbered(_usual(text.splitlines()))
    for line in lines:
        words = line.split()
        if not words or line.startswith("#") or line.strip().lower() in _IGNORED:
            continue
        colored, hexadecimal = _COLORED.match(line), _HEXADECIMAL.match(line)
        if colored:
            palette.append(tuple(int(part) for part in colored.groups()[1:]))
            words = colored.group(1).split()
        elif hexadecimal:
            palette.append(tuple(bytes.fromhex(hexadecimal.group(2))))
            words = hexadecimal.group(1).split()
        names.append(" ".join(words))
    if palette and len(palette) == len(names) - 1 and names[0] == "background":
        # EISeg numbers its labels from 1 on.
        palette.insert(0, (0, 0, 0))
    if palette and len(palette) != len(names):
        raise ValueError(f"{len(palette)} of {len(names)} classes have a color")
    return tuple(names), tuple(palette), values


def is_numbered_or_colored(text: str) -> str:
    """What every line has next to its name: `number`, `color`, `both`, or '' if some have none."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) < 2:
        return ""
    if all(map(_COLOR_INSIDE.match, lines)):
        return "both"
    own = [line.partition(" ")[2] for line in lines]
    if all(re.match(r"\s*\d+\s", line) for line in lines) and all(map(_COLORED.match, own)):
        return "both"
    usual = _usual(lines)
    # A heading is gone then.
    if all(map(_COLORED.match, usual)) or all(map(_HEXADECIMAL.match, usual)):
        return "color"
    return "number" if all(map(NUMBERED.match, usual)) else ""


def _usual(lines: list[str]) -> list[str]:
    """Lines with the number in front of the name, and the color, without opacity, behind it."""
    own = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if own and all(line.rstrip().endswith((",", ";")) for line in own):
        own = [line.rstrip(" \t,;") for line in own]
    if len(own) == 1 and re.search(r"[^\d\s][,;]", own[0]):
        own = [name.strip() for name in re.split("[,;]", own[0]) if name.strip()]
    words = re.findall(r"[^\W\d_]+", own[0].lower()) if own else []
    if (
        len(own) > 2
        and len(words) > 1
        and _HEADS.issuperset(words)
        and not re.search(r"\d", own[0])
    ):
        numbered = all(map(NUMBERED.match, own[1:])) or all(map(_NUMBER_LAST.match, own[1:]))
        own = own[numbered:]
    inside = [_COLOR_INSIDE.match(line) for line in own]
    if inside and all(inside):
        return ["{0} {4} {1} {2} {3}".format(*match.groups()) for match in inside]
    opaque = [_OPAQUE.match(line) for line in own]
    if opaque and all(opaque):
        # `level 1 255 0 0` has a number in its name.
        bare = {re.split(r"[\s,;]+\d+[\s,;]+\d+[\s,;]+\d+$", m.group(1))[0] for m in opaque}
        if len(bare) == len(own):
            return [match.group(1) for match in opaque]
    last = [_NUMBER_LAST.match(line) for line in own]
    colored = any(map(_COLORED.match, own))
    if len(own) > 1 and all(last) and not colored:
        values = sorted(int(match.group(3)) for match in last)
        certain = values in (list(range(len(own))), list(range(1, len(own) + 1)))
        certain |= all(not match.group(2).isspace() for match in last)
        # `phase 1` and `phase 2` are names.
        if certain and len({match.group(1) for match in last}) == len(own):
            return [f"{match.group(3)}: {match.group(1)}" for match in last]
    return own


def _numbered(lines: list[str]) -> tuple[list[str], tuple[int, ...]]:
    """Lines without their numbers, in the order of the numbers; the numbers if they leave gaps.

    Raises:
        ValueError: a number occurs twice.
    """
    found = [NUMBERED.match(line) for line in lines if line.strip() and line[0] != "#"]
    if len(found) < 2 or not all(found):
        return lines, ()
    pairs = sorted((int(match.group(1)), match.group(2)) for match in found)
    values = tuple(value for value, _ in pairs)
    if len(set(values)) < len(values):
        raise ValueError("a number occurs twice; expected one line per class")
    names = [name for _, name in pairs]
    if values == tuple(range(1, len(values) + 1)):
        return ["background", *names], ()
    if values == tuple(range(len(values))):
        return names, ()
    # `10 euro`, `20 euro` are names; with a colon or comma, numbers with gaps are stored values.
    return (names, values) if all(_SEPARATED.match(line) for line in lines if line) else (lines, ())
