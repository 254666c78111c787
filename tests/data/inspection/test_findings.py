"""The kind of a finding comes from its message, not from the name of its file."""

import pytest

from ipixmatch_jax.data.inspection.findings import unusable


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("{}: the file is damaged", "unreadable"),
        ("{}: color (1, 2, 3) in 2.0 % of the pixels", "mask-colors"),
        ("{}: mask value 7; expected class ids", "mask-values"),
    ],
)
def test_the_kind_of_an_unusable_record(message, kind):
    files = ("/color/images/a.jpg", "/color/masks/a.png")
    finding = unusable("labeled", 3, files, message.format(files[1]))
    assert (finding.kind, finding.file, finding.index) == (kind, files[1], 3)
