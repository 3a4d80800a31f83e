"""All tests with `images` run on each implementation: a folder, and a bucket of a real S3 server."""

import secrets
from pathlib import Path

import pytest

from sightline_testing.s3_server import S3Server
from storage.images.bucket import ImageBucket
from storage.images.folder import ImageFolder
from storage.images.port import ImageStore


@pytest.fixture(params=["folder", "bucket"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> ImageStore:
    if request.param == "folder":
        return ImageFolder(tmp_path / "uploads")
    server: S3Server = request.getfixturevalue("s3_server")
    return ImageBucket(server.bucket(f"s3://images/{secrets.token_hex(4)}/prefix"))
