"""An error in the input is known early, and raised in its own place."""

import pytest

from ipixmatch_jax.data.errors_ahead import ErrorsAhead
from ipixmatch_jax.errors import DataError


class Batches:
    """Batch n is n, with n skips; an error after `whole` batches."""

    def __init__(self, whole):
        self.whole, self.skips, self.closed = whole, 0, False

    def __next__(self):
        if self.skips == self.whole:
            raise DataError("p7.jpg: cannot be read")
        self.skips += 1
        return self.skips

    def close(self):
        self.closed = True


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_the_batches_before_an_error_tell_that_it_comes(depth):
    batches = Batches(6)
    ahead, found = ErrorsAhead(batches, depth), []
    with pytest.raises(DataError, match="p7.jpg"):
        for batch, skips in ahead:
            assert batch == skips
            found.append(ahead.error is not None)
    assert found == [False] * (6 - depth) + [True] * depth
    ahead.close()
    assert batches.closed


def test_an_error_at_the_start_comes_first():
    ahead = ErrorsAhead(Batches(0), 3)
    with pytest.raises(DataError):
        next(ahead)
