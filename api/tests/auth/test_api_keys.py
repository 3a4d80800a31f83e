import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from auth import api_keys
from auth.api_keys import ApiKey, KeyFile, KeyFileError
from commands import manage_keys
from tests.serving import wait_until
from wire.rate_limit import Rate

DIGEST = hashlib.sha256(b"key").hexdigest()
API = Path(__file__).parents[2]


def test_names_hashes_and_rates_are_read_and_comments_are_not() -> None:
    text = f"# ours\nalice {DIGEST} 60/minute  # fast\n\n  bob\t{DIGEST}\n"
    digest = bytes.fromhex(DIGEST)
    assert api_keys.parse(text) == (ApiKey("alice", digest, Rate(60, 60.0)), ApiKey("bob", digest))


@pytest.mark.parametrize(
    "line",
    [
        "alice",
        f"alice {DIGEST[:-1]}",
        f"alice {DIGEST.upper()}",
        f"alice {DIGEST} 60/minute more",
        f"alice {DIGEST} 60/fortnight",
        f"alice {DIGEST} 0/minute",
        f"al/ice {DIGEST}",
        f"{DIGEST} alice",
        "alice plain-text-key",
    ],
)
def test_what_is_no_key_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(KeyFileError, match="line 2"):
        api_keys.parse(f"# keys\n{line}\n")


@pytest.mark.parametrize("text", ["", "60", "60/", "/minute", "-1/minute", "1.5/minute", "1e3/minute", "60 / minute"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(KeyFileError, match="60/minute"):
        api_keys.parse_rate(text)


def test_a_key_is_found_by_its_hash_alone() -> None:
    keys = api_keys.parse(f"alice {DIGEST}\nbob {hashlib.sha256(b'other').hexdigest()}")
    assert [entry.name for entry in (api_keys.find(keys, "key"), api_keys.find(keys, "other")) if entry] == [
        "alice",
        "bob",
    ]
    for wrong in ("", "Key", "key ", DIGEST, "k" * 10_000, "\udcff", "schlüssel"):
        assert api_keys.find(keys, wrong) is None


def test_a_changed_file_is_read_again_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"alice {DIGEST}\n")
    keys = KeyFile(path)
    path.write_text("nonsense")
    os.utime(path, (1, 1))
    keys._check_at = 0
    assert keys.find("key") is not None
    path.write_text(f"bob {hashlib.sha256(b'new').hexdigest()}\n")
    wait_until(lambda: keys.find("new") is not None, "the new key is known")
    assert keys.find("key") is None


def test_a_file_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be read"):
        KeyFile(tmp_path / "missing")


def run(path: Path, *words: str) -> int:
    return manage_keys.main(["--file", str(path), *words])


def test_keys_are_made_replaced_and_revoked_by_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys"
    made = []
    for words in (["add", "alice", "--rate", "5/second"], ["add", "bob"], ["add", "alice"]):
        assert run(path, *words) == 0
        made.append(capsys.readouterr().out.strip())
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(key in path.read_text() for key in made)
    keys = KeyFile(path)
    assert [entry.name for key in made if (entry := keys.find(key))] == ["alice", "bob", "alice"]
    assert run(path, "revoke", "alice", "--old") == 0
    keys = KeyFile(path)
    assert [keys.find(key) is not None for key in made] == [False, True, True]
    assert run(path, "revoke", "alice") == 0
    assert [keys.name for keys in api_keys.parse(path.read_text())] == ["bob"]
    capsys.readouterr()
    assert run(path, "list") == 0
    assert "bob" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["revoke", "nobody"], "no key is named 'nobody'"),
        (["add", "al/ice"], "line 1"),
        (["add", "alice", "--rate", "often"], "60/minute"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    path = tmp_path / "keys"
    path.write_text("# none yet\n")
    assert run(path, *words) == 1
    assert reason in capsys.readouterr().err
    assert path.read_text() == "# none yet\n"


def test_of_several_commands_at_once_none_loses_the_key_of_another(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    command = [sys.executable, "-m", "commands.manage_keys", "--file", str(path), "add"]
    started = [subprocess.Popen([*command, f"name{number}"], cwd=API, stdout=subprocess.DEVNULL) for number in range(6)]
    assert [process.wait(60) for process in started] == [0] * 6
    names = [line.split()[0] for line in path.read_text().splitlines()]
    assert sorted(names) == [f"name{number}" for number in range(6)]
