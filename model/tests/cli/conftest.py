"""Where the commands find Redis."""

import pytest

import settings
from cli import models
from sightline_testing.redis_server import RedisServer


@pytest.fixture
def no_workers(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the commands find a Redis without workers, and soon notice one that does not answer."""
    monkeypatch.setattr(settings, "REDIS_PORT", redis_server.port)
    monkeypatch.setattr(models, "REDIS_TIMEOUT_S", 0.1)
    monkeypatch.setattr(models, "SETTLED_S", 0.0)
