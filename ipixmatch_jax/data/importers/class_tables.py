"""Class names in TensorFlow's label maps and SageMaker's manifests."""

import json
import re

_ITEM = re.compile(r"item\s*\{(.*?)\}", re.DOTALL)
_FIELD = re.compile(r"(\w+)\s*:\s*(?:\"([^\"]*)\"|'([^']*)'|(\d+))")


def label_map(text: str) -> dict[str, int]:
    """Name -> id of a label map (.pbtxt): `item { id: 1 name: "cat" }`; display names count.

    Raises:
        ValueError: an item without a name or id.
    """
    found = {}
    for item in _ITEM.findall(text):
        fields = {key: one or two or three for key, one, two, three in _FIELD.findall(item)}
        name = fields.get("display_name") or fields.get("name")
        if not name or not fields.get("id", "").isdigit():
            raise ValueError("an item without name or id")
        found[name] = int(fields["id"])
    return found


def manifest_colors(text: str) -> dict[str, int]:
    """Name -> id of the color map in a manifest of SageMaker Ground Truth; {} for other files."""
    for line in filter(None, map(str.strip, text.splitlines())):
        try:
            content = json.loads(line)
        except ValueError:
            return {}
        for value in content.values() if isinstance(content, dict) else ():
            table = value.get("internal-color-map") if isinstance(value, dict) else None
            if table:
                return {str(one["class-name"]): int(key) for key, one in table.items()}
    return {}
