"""The backend of docs/backend-on-redis.md keeps every law, on the real server, and leaves nothing there."""

import uuid
from contextlib import contextmanager

import f1mon_redis
import pytest
import redis
from click.testing import CliRunner

from f1mon_core.testing import Location, StorageContract, __main__, location

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
        with f1mon_redis.fresh_redis(url=URL, name="f1mon-test") as options:
            yield Location(f1mon_redis.backend, **options)


@pytest.mark.servers
def test_the_report_leaves_no_key_behind(monkeypatch):
    name = f"f1mon-report-{uuid.uuid4().hex}"
    for module, loading in ((__main__, "load_backend"), (location, "_loaded")):
        monkeypatch.setattr(module, loading, lambda _: f1mon_redis.backend)
    done = CliRunner().invoke(__main__.report, ["redis", "--url", URL, "--name", name, "--law", "count has"])
    assert done.exit_code == 0, done.output
    with redis.Redis.from_url(URL) as client:
        assert list(client.scan_iter(f"{name}*")) == []
