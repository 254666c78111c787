"""Says how masks are read, where they are not plain class ids."""

from ml_collections import ConfigDict

_SHOWN = 8
_STYLES = {
    "colors": "their colors, one for each class",
    "nearest": "the nearest color of a class; blends are ignored",
    "binary": "brightness, as background and foreground",
    "alpha": "opacity, as background and foreground",
    "objects": "numbered objects, all of class 1",
}


def style_notes(data: ConfigDict) -> list[str]:
    """Lines about the style, the stored values and the ignored colors of `config.data`."""
    notes = []
    if data.masks != "ids":
        notes.append(f"masks are read by {_STYLES[data.masks]} (data.masks={data.masks})")
    if len(data.mask_values) and data.masks == "ids":
        shown = ", ".join(map(str, data.mask_values[:_SHOWN]))
        more = ", …" if len(data.mask_values) > _SHOWN else ""
        notes.append(f"mask values {shown}{more} are classes 0, 1, … (data.mask_values)")
    if len(data.ignore_values) and data.masks == "ids":
        shown = ", ".join(map(str, data.ignore_values[:_SHOWN]))
        notes.append(f"mask values {shown} mean ignore (data.ignore_values)")
    if len(data.ignore_colors) and data.masks in ("colors", "nearest"):
        shown = ", ".join(str(tuple(color)) for color in data.ignore_colors[:_SHOWN])
        notes.append(f"mask colors {shown} mean ignore (data.ignore_colors)")
    return notes
