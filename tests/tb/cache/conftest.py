import pytest

from qkloom.tb.cache.native import native_library


@pytest.fixture(scope="session")
def library(require):
    """Return the compiled replay."""
    require("compiler")
    found = native_library()
    assert found is not None
    return found
