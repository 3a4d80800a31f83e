import hashlib
import secrets
from pathlib import Path

import pytest

from inference.errors import BundleError, VersionError
from registry import activation
from registry.activation import PROMOTED, Trial
from registry.model_store import ModelStore
from serving.model_mirror import ModelMirror
from sightline_testing.s3_server import S3Server
from storage.s3 import Bucket, Server


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    return s3_server.bucket(f"s3://images/models-{secrets.token_hex(4)}")


@pytest.fixture
def hosts(tmp_path: Path) -> list[Path]:
    """The folders of bundles of two hosts, of which the first has two versions and serves one."""
    for version in ("1", "2"):
        version_in(tmp_path / "first", version)
    (tmp_path / "first" / "active").write_text("net/1\n")
    return [tmp_path / "first", tmp_path / "second"]


def version_in(bundles: Path, version: str) -> None:
    folder = bundles / "net" / version
    folder.mkdir(parents=True)
    contents = {"model.onnx": f"graph {version}".encode(), "labels.txt": b"cat\n"}
    sums = "".join(f'"{name}" = "{hashlib.sha256(content).hexdigest()}"\n' for name, content in contents.items())
    for name, content in {**contents, "bundle.toml": f"[files]\n{sums}".encode()}.items():
        (folder / name).write_bytes(content)
    (folder / "compiled").mkdir()
    (folder / "compiled" / "form").write_bytes(b"of this host")


def files_of(bundles: Path) -> dict[str, bytes]:
    found = (path for path in bundles.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(bundles)): path.read_bytes() for path in found if path.parent.name != "compiled"}


def test_what_one_host_promotes_the_others_mirror_whole(bucket: Bucket, hosts: list[Path]) -> None:
    first, second = (ModelStore(bucket, host) for host in hosts)
    first.share_active()
    second.mirror()
    assert activation.active(hosts[1]) == "net/1"
    first.mirror()
    first.activate("net/2", "net/1", PROMOTED)
    second.mirror()
    assert activation.active(hosts[1]) == "net/2"
    assert files_of(hosts[1]) == files_of(hosts[0])
    assert not list(hosts[1].rglob("compiled")), "what a host has compiled is its own"
    assert first.versions() == ["net/1", "net/2"]
    assert activation.served_before(hosts[1]) == "net/1"


def test_of_two_hosts_that_promote_at_the_same_time_one_is_refused(bucket: Bucket, hosts: list[Path]) -> None:
    first, second = (ModelStore(bucket, host) for host in hosts)
    first.share_active()
    first.push("net/2")
    second.mirror("net/2")
    first.mirror()
    second.activate("net/2", "net/1", PROMOTED)
    with pytest.raises(VersionError, match=r"promoted in s3://images/.* meanwhile"):
        first.activate("net/2", "net/1", PROMOTED)
    assert activation.active(hosts[0]) == "net/1", "nothing is changed where it is refused"
    first.mirror()
    assert activation.active(hosts[0]) == "net/2"


def test_a_trial_is_that_of_all_hosts_until_it_ends(bucket: Bucket, hosts: list[Path]) -> None:
    first, second = (ModelStore(bucket, host) for host in hosts)
    first.share_active()
    activation.try_beside(hosts[0], Trial("net/2", 0.5))
    first.share_trial("net/2")
    second.mirror()
    assert activation.tried_beside(hosts[1]) == Trial("net/2", 0.5)
    assert (hosts[1] / "net/2/model.onnx").read_bytes() == b"graph 2"
    first.mirror()
    first.activate("net/2", "net/1", PROMOTED)
    second.mirror()
    assert activation.tried_beside(hosts[1]) is None


def test_a_version_that_was_altered_is_refused_and_what_is_served_stays(bucket: Bucket, hosts: list[Path]) -> None:
    first, second = (ModelStore(bucket, host) for host in hosts)
    first.share_active()
    second.mirror()
    before = files_of(hosts[1])
    first.mirror()
    first.activate("net/2", "net/1", PROMOTED)
    bucket.put("net/2/model.onnx", b"another graph")
    with pytest.raises(BundleError, match=r"net/2/model.onnx does not have its SHA-256"):
        second.mirror()
    assert files_of(hosts[1]) == before


def test_another_version_of_the_same_name_is_not_stored(bucket: Bucket, hosts: list[Path]) -> None:
    ModelStore(bucket, hosts[0]).push("net/1")
    version_in(hosts[1], "1")
    with (hosts[1] / "net/1/bundle.toml").open("a") as file:
        file.write("# another\n")
    with pytest.raises(VersionError, match="another version net/1"):
        ModelStore(bucket, hosts[1]).push("net/1")


def test_a_host_that_cannot_fetch_goes_on_with_what_it_has_and_says_so(
    hosts: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    away = Bucket("s3://models", Server("http://127.0.0.1:1", "us-east-1", "key", "secret", 0.5))
    before, mirror, reported = files_of(hosts[0]), ModelMirror(ModelStore(away, hosts[0])), list[str]()
    mirror.first(lambda: True, reported.append)
    assert "s3://models: Connect" in mirror.fault
    assert "what is here is served on" in caplog.text
    assert files_of(hosts[0]) == before
    mirror.first(lambda: bool(reported), reported.append)
    assert reported == [mirror.fault], "a host that has nothing reports why, and waits"
