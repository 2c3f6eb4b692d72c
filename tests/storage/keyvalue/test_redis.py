"""The backend of docs/backend-on-redis.md keeps every law, on the real server, and leaves nothing there."""

import uuid
from contextlib import contextmanager

import f1mon_redis
import pytest
import redis

from f1mon_core.testing import Location, StorageContract

URL = "redis://127.0.0.1:6379/9"


@pytest.fixture(scope="module", autouse=True)
def server():
    try:
        with redis.Redis.from_url(URL, socket_connect_timeout=2) as client:
            client.ping()
            yield
    except redis.ConnectionError as error:
        pytest.skip(f"no Redis on 127.0.0.1:6379: {error}")


@pytest.mark.servers
class TestRedis(StorageContract):
    windows = 20
    fresh_rules = 10
    meetings = 60
    kills = 20
    writer_kills = 20

    @contextmanager
    def location(self):
        name = f"f1mon-test-{uuid.uuid4().hex}"
        try:
            yield Location(f1mon_redis.backend, url=URL, name=name)
        finally:
            with redis.Redis.from_url(URL) as client:
                client.delete(*(f"{name}:{part}" for part in ("keys", "values", "version", "lock")))
