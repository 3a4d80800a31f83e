"""Manage API keys: `python -m commands.manage_keys add NAME [--rate 60/minute] | list | revoke NAME [--old]`.

A key is shown once, when it is made; the file holds its hash. A running api notices changes within a second.
"""

import argparse
import fcntl
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import settings
from auth import api_keys
from storage import files
from wire import __version__

PREFIX = "sk_"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    options = _parser().parse_args(arguments)
    if not options.file:
        sys.stderr.write("which file? Set API_KEYS_FILE, or give --file\n")
        return 2
    path = Path(options.file)
    try:
        # Who only lists may be unable to write there.
        with nullcontext() if options.action == "list" else _alone_with(path):
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            api_keys.parse("\n".join(lines))
            {"add": _add, "list": _list, "revoke": _revoke}[options.action](path, lines, options)
    except (OSError, api_keys.KeyFileError, LookupError) as error:
        sys.stderr.write(f"{path}: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Makes, lists and revokes the keys that programs bring.")
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    parser.add_argument("--file", default=settings.API_KEYS_FILE, help="default: API_KEYS_FILE (%(default)r)")
    actions = parser.add_subparsers(dest="action", required=True)
    add = actions.add_parser("add", help="make a key and show it, this once")
    add.add_argument("name")
    add.add_argument("--rate", default="", help="such as 60/minute; default: RATE_LIMIT")
    actions.add_parser("list", help="show names and rates")
    revoke = actions.add_parser("revoke", help="remove the keys of a name")
    revoke.add_argument("name")
    revoke.add_argument("--old", action="store_true", help="all but the newest: the second half of replacing one")
    return parser


def _add(path: Path, lines: list[str], options: argparse.Namespace) -> None:
    key = PREFIX + secrets.token_urlsafe(32)
    line = f"{options.name} {api_keys.digest_of(key).hex()} {options.rate}".rstrip()
    api_keys.parse(line)
    _write(path, [*lines, line])
    sys.stdout.write(f"{key}\n")


def _list(path: Path, lines: list[str], options: argparse.Namespace) -> None:
    for line in lines:
        for entry in api_keys.parse(line):
            rate = f"{entry.rate.count} in {entry.rate.period_s:g} s" if entry.rate else "the usual rate"
            sys.stdout.write(f"{entry.name}  {entry.digest.hex()[:12]}  {rate}\n")


def _revoke(path: Path, lines: list[str], options: argparse.Namespace) -> None:
    own = [line for line in lines if any(entry.name == options.name for entry in api_keys.parse(line))]
    if not own:
        raise LookupError(f"no key is named {options.name!r}")
    gone = own[:-1] if options.old else own
    _write(path, [line for line in lines if line not in gone])
    sys.stdout.write(f"{len(gone)} of {options.name}'s keys revoked\n")


@contextmanager
def _alone_with(path: Path) -> Iterator[None]:
    """Hold a lock, so that of two concurrent commands neither loses the other's key."""
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, lines: list[str]) -> None:
    """Replace the file as a whole: a reader gets the old keys or the new ones."""
    files.replace(path, "".join(f"{line}\n" for line in lines).encode(), 0o600)


if __name__ == "__main__":
    sys.exit(main())
