"""Databases for these tests."""

import pytest

from ..servers import FRESH, families


@pytest.fixture(params=families())
def family(request):
    """Each family of databases."""
    return request.param


@pytest.fixture
def url(family):
    """The address of an empty database of each family."""
    with FRESH[family]() as address:
        yield address


@pytest.fixture
def sqlite_url():
    """The address of an SQLite file that does not exist yet."""
    with FRESH["sqlite"]() as address:
        yield address
