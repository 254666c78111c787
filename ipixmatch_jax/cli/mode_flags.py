"""Which mode reads which flag: a flag that nothing reads would be taken for obeyed."""

import argparse
from collections.abc import Sequence

_NETWORKS = ("eval", "predict", "next", "export", "serve")
_PROCESSES = ("train", "eval")
# Flags by what argparse calls them; those that every mode may have are absent.
_READ_BY = {
    "checkpoint": (*_NETWORKS, "diagnose"),
    "network": _NETWORKS,
    "split": ("eval", "diagnose"),
    "input": ("predict", "next"),
    "output": (
        "predict", "next", "convert", "inspect", "export", "report", "diagnose", "new-config",
    ),
    "also": ("predict",),
    "tile_above": ("predict", "next"),
    "runs": ("report",),
    **dict.fromkeys(("format", "size", "layout"), ("export",)),
    **dict.fromkeys(
        ("batches", "relations", "regions", "temperatures", "thresholds", "share"), ("diagnose",)
    ),
    **dict.fromkeys(("count", "weights", "pseudo_masks"), ("next",)),
    **dict.fromkeys(
        ("host", "port", "host_names", "max_megabytes", "max_megapixels", "max_side"), ("serve",)
    ),
    **dict.fromkeys(("coordinator", "processes", "process"), _PROCESSES),
}  # fmt: skip


def unread_flag(parser: argparse.ArgumentParser, argv: Sequence[str], mode: str) -> str:
    """A message if one of the flags on the command line is not read by the mode; else ''."""
    absent = object()
    # Attributes that are there already keep argparse from setting defaults.
    given, _ = parser.parse_known_args(argv, argparse.Namespace(**dict.fromkeys(_READ_BY, absent)))
    for name, modes in _READ_BY.items():
        if getattr(given, name) is not absent and mode not in modes:
            flag = f"--{name.replace('_', '-')}"
            return f"--mode {mode} has no {flag}, which belongs to {', '.join(modes)}"
    if given.size is not absent and given.format in (absent, "torch"):
        return "--size is for --format stablehlo and onnx; weights are of no size"
    return ""
