"""A PostgreSQL server of these tests' own; the shared one is never harmed."""

from collections.abc import Iterator

import pytest

from .postgres_server import PostgresServer


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer, request: pytest.FixtureRequest) -> str:
    """A fresh database on it."""
    import psycopg  # noqa: PLC0415 - only where these tests run

    name = f"f1mon_{abs(hash(request.node.name)):x}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"postgresql://postgres@127.0.0.1:{postgres.port}/{name}"
