"""Transfers in a bucket: what one host has stored, another one uses."""

import secrets
import socket
from contextlib import closing
from pathlib import Path

import pytest

from sightline_testing.s3_server import S3Server
from storage.errors import StorageUnavailable
from storage.s3 import Bucket, Server
from storage.transfers.bucket import PIECE_BYTES, BucketTransfers

FILES = {"model.onnx": secrets.token_bytes(3 * 1024**2), "labels.txt": b"cat\n"}


@pytest.fixture
def hosts(s3_server: S3Server, tmp_path: Path) -> tuple[BucketTransfers, BucketTransfers]:
    """The api's host and the trainer's, which have nothing but the bucket in common."""
    place = f"s3://images/{secrets.token_hex(4)}"
    api, trainer = (BucketTransfers(s3_server.bucket(place), tmp_path / name) for name in ("api", "trainer"))
    return api, trainer


def test_a_server_that_is_away_shows_before_anything_is_sent(s3_server: S3Server, tmp_path: Path) -> None:
    place = f"s3://images/{secrets.token_hex(4)}"
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        nobody = Server(f"http://127.0.0.1:{taken.getsockname()[1]}", "us-east-1", "key", "secret", 30.0)
    transfers = BucketTransfers(s3_server.bucket(place), tmp_path, Bucket(place, nobody))
    for work in (lambda: transfers.receive(FILES, 0), lambda: transfers.open_archive("1-0")):
        with pytest.raises(StorageUnavailable):
            work()
    assert list(s3_server.bucket(place).keys("")) == []


def test_an_upload_is_found_on_another_host_until_it_is_dropped(hosts: tuple[BucketTransfers, BucketTransfers]) -> None:
    api, trainer = hosts
    transfer_id = api.receive(FILES, 0)
    folder = trainer.received(transfer_id)
    assert trainer.received(transfer_id) == folder, "an order that was interrupted is started again"
    assert folder is not None
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    trainer.drop(transfer_id)
    assert not folder.exists()
    assert trainer.received(transfer_id) is None
    for name in ("", "..", "../exports", "a/b"):
        trainer.drop(name)
        assert (trainer.received(name), api.open_archive(name)) == (None, None)


def test_an_archive_is_sent_in_pieces_and_goes_with_the_others(hosts: tuple[BucketTransfers, BucketTransfers]) -> None:
    api, trainer = hosts
    content = secrets.token_bytes(2 * PIECE_BYTES + 17)
    path = trainer.archive("1-0")
    path.write_bytes(content)
    assert api.open_archive("1-0") is None
    trainer.publish("1-0")
    assert not path.exists()
    opened = api.open_archive("1-0")
    assert opened is not None
    with opened:
        assert opened.seek(0, 2) == len(content)
        opened.seek(0)
        assert b"".join(iter(lambda: opened.read(64 * 1024), b"")) == content
    assert trainer.drop_old() == 0
    assert trainer.archive("2-0").parent.is_dir()
    assert api.open_archive("1-0") is None
    trainer.archive("2-0").write_bytes(b"")
    assert trainer.drop_archives() == 1
