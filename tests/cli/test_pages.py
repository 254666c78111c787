"""The folder of the pages: a checkout's own, or that of an installed wheel."""

from ipixmatch_jax.cli import pages
from tests.references import ROOT


def test_a_checkout_has_its_own():
    assert pages.pages_folder() == ROOT


def test_installed_pages_are_found_below_the_prefix(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "__file__", str(tmp_path / "site" / "ipixmatch_jax/cli/pages.py"))
    monkeypatch.setattr(pages.sysconfig, "get_path", lambda _: str(tmp_path / "prefix"))
    monkeypatch.setattr(pages.site, "getuserbase", lambda: str(tmp_path / "user"))
    assert pages.pages_folder() is None
    for place in ("user", "prefix"):
        docs = tmp_path / place / "share" / "ipixmatch_jax" / "docs"
        docs.mkdir(parents=True)
        (docs / "tuning.md").touch()
        assert pages.pages_folder() == docs.parent
