"""The licences of all installed dependencies are allowed."""

import pytest

from tests.references.licences import EXCEPTIONS, dependencies, is_allowed, problems


def test_every_installed_dependency_has_an_allowed_licence():
    assert {"jax", "flax", "numpy", "grain", "tensorstore"} <= dependencies().keys()
    assert not problems()


def test_exceptions_are_installed_by_extras_only():
    assert not dependencies(extras=False).keys() & EXCEPTIONS.keys()


@pytest.mark.parametrize(
    "licence",
    [
        "Apache-2.0",
        "Apache 2.0 License",
        "Apache License Version 2.0, January 2004",
        "BSD License",
        "FreeBSD",
        "MIT OR GPL-3.0-only",
        "BSD-3-Clause AND 0BSD AND Zlib",
        "Apache-2.0 WITH LLVM-exception",
    ],
)
def test_permissive_licences_are_allowed(licence):
    assert is_allowed(licence)


@pytest.mark.parametrize(
    "licence",
    [
        "",
        "UNKNOWN",
        "GPL-3.0-only",
        "GNU Lesser General Public License v3 (LGPLv3)",
        "AGPL-3.0-or-later",
        "MIT AND GPL-2.0-only",
        "Other/Proprietary License",
        "Apache-2.0 AND",
        "BSD-4-Clause",
    ],
)
def test_other_licences_are_not(licence):
    assert not is_allowed(licence)
