"""The versions that all hosts share, in a bucket: `<model>/<version>/<file>`, `active`, `shadow` and `promotions.csv`.

Each host mirrors what it is to serve into its own folder of bundles, from which workers read as ever. A version appears
there whole, each file with the SHA-256 that its description names. Who promotes writes `promotions.csv` on condition
that no other process has done so since it was read, and then `active`.
"""

import hashlib
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

from inference import bundle, files
from inference.bundle import ACTIVE_FILE, DESCRIPTION_FILE
from inference.errors import BundleError, VersionError
from registry import activation, versions
from registry.activation import HISTORY_FILE, MAX_HISTORY_BYTES, SHADOW_FILE
from registry.versions import RECORD_FILE
from storage.s3 import Bucket

STATE_FILES = (HISTORY_FILE, SHADOW_FILE, ACTIVE_FILE)


class ModelStore:
    """A bucket of versions, and the folder of bundles that mirrors it; every method may raise StorageError."""

    def __init__(self, bucket: Bucket, bundles: Path) -> None:
        self._bucket, self._bundles = bucket, bundles
        self._history_etag = ""

    def mirror(self, *wanted: str) -> None:
        """Bring the versions to be served, tried or `wanted` here; then the files that name them.

        Where the store names no version yet, what this host serves stays. Raise BundleError for a version that is not
        whole; then nothing of it is here, and what was served is served on.
        """
        state = self._state()
        contents = {name: found[0] for name, found in state.items() if found is not None}
        for content in map(contents.get, (ACTIVE_FILE, SHADOW_FILE)):
            wanted += tuple((content or b"").decode(errors="replace").split()[:1])
        for version in set(wanted):
            self.pull(version)
        with files.alone_in(self._bundles):
            changed = {name: each for name, each in contents.items() if _content(self._bundles / name) != each}
            # What was promoted while versions came is the next call's.
            if changed and self._state() == state:
                for name, content in changed.items():
                    _make(self._bundles / name, content)
        history = state[HISTORY_FILE]
        self._history_etag = "" if history is None else history[1]

    def _state(self) -> dict[str, tuple[bytes, str] | None]:
        return {name: self._bucket.get(name) for name in STATE_FILES}

    def pull(self, version: str) -> None:
        """Bring a version here, unless it is here with the same description, or the store lacks it."""
        if not bundle.is_identity(version):
            raise BundleError(f"{self._bucket.place} names the bundle {version[:100]!r}; expected <model>/<version>")
        target, described = self._bundles / version, self._bucket.get(f"{version}/{DESCRIPTION_FILE}")
        if described is None:
            if not target.is_dir():
                raise BundleError(f"{self._bucket.place} has no version {version}")
            return
        if _content(target / DESCRIPTION_FILE) == described[0]:
            return
        contents = {name: self._fetched(version, name, sha256) for name, sha256 in _sums(described[0]).items()}
        _put(target, {**contents, DESCRIPTION_FILE: described[0]})

    def push(self, version: str) -> None:
        """Store a version, its description last; raise VersionError where the store has another one of that name."""
        folder, described = self._bundles / version, _content(self._bundles / version / DESCRIPTION_FILE)
        there = self._bucket.get(f"{version}/{DESCRIPTION_FILE}")
        if there is not None and there[0] != described:
            raise VersionError(f"{self._bucket.place} has another version {version}: give this one another name")
        if there is None:
            for name in _sums(described):
                content = (folder / name).read_bytes()
                self._bucket.put(f"{version}/{name}", content, hashlib.sha256(content).hexdigest())
            self._bucket.put_new(f"{version}/{DESCRIPTION_FILE}", described, hashlib.sha256(described).hexdigest())

    def update_record(self, version: str) -> None:
        """Store the record of a version again, and its description last, where the store has the version."""
        if self._bucket.facts(f"{version}/{DESCRIPTION_FILE}") is not None:
            for name in (RECORD_FILE, DESCRIPTION_FILE):
                content = (self._bundles / version / name).read_bytes()
                self._bucket.put(f"{version}/{name}", content, hashlib.sha256(content).hexdigest())

    def versions(self) -> list[str]:
        """Return the versions that the store has, in order."""
        found = (key.rpartition("/") for key in self._bucket.keys(""))
        return sorted(folder for folder, _, name in found if name == DESCRIPTION_FILE and bundle.is_identity(folder))

    def activate(self, version: str, before: str, action: str, note: str = "") -> None:
        """Have all hosts serve a version in place of `before`; raise VersionError where another was meanwhile."""
        self.push(version)

        def publish(history: bytes) -> None:
            is_first = not self._history_etag
            stored = (
                self._bucket.put_new(HISTORY_FILE, history, "")
                if is_first
                else self._bucket.replace(HISTORY_FILE, history, self._history_etag)
            )
            if not stored:
                raise VersionError(f"another version was promoted in {self._bucket.place} meanwhile; try again")
            if _trial(self._bundles) == version:
                self._bucket.put(SHADOW_FILE, b"")
            self._bucket.put(ACTIVE_FILE, f"{version}\n".encode())

        activation.activate(self._bundles, version, before, action, note, publish=publish)

    def share_trial(self, version: str) -> None:
        """Store which version this host tries as its shadow, or that it tries none."""
        if version:
            self.push(version)
        self._bucket.put(SHADOW_FILE, _content(self._bundles / SHADOW_FILE))

    def share_active(self) -> None:
        """Store the version that this host serves, and have all hosts serve it if they have none."""
        version = versions.identity(bundle.choose(self._bundles))
        self.push(version)
        self._bucket.put_new(ACTIVE_FILE, f"{version}\n".encode(), "")

    def _fetched(self, version: str, name: str, sha256: object) -> bytes:
        found = self._bucket.get(f"{version}/{name}")
        if found is None or hashlib.sha256(found[0]).hexdigest() != sha256:
            what = "is missing" if found is None else "does not have its SHA-256"
            raise BundleError(f"{self._bucket.place}/{version}/{name} {what}: push the version again")
        return found[0]


def _sums(description: bytes) -> Mapping[str, object]:
    """Return the SHA-256 of each file that a description names; raise BundleError."""
    try:
        sums = tomllib.loads(description.decode())["files"]
        if isinstance(sums, dict) and all(bundle.is_name(name) for name in sums):
            return sums
    except (ValueError, KeyError):
        pass
    raise BundleError(f"{DESCRIPTION_FILE} cannot be read, or names no files")


def _trial(bundles: Path) -> str:
    try:
        trial = activation.tried_beside(bundles)
    except (VersionError, BundleError):
        return ""
    return "" if trial is None else trial.version


def _content(path: Path) -> bytes:
    try:
        return files.read(path, MAX_HISTORY_BYTES)
    except FileNotFoundError:
        return b""


def _make(path: Path, content: bytes) -> None:
    """Have a file hold this; an empty one is removed."""
    if content:
        files.replace(path, content)
    else:
        path.unlink(missing_ok=True)


def _put(target: Path, contents: Mapping[str, bytes]) -> None:
    """Put a version in its place atomically, also where another of that name exists."""
    draft, old = files.beside(target), files.beside(target)
    draft.mkdir(parents=True)
    try:
        for name, content in contents.items():
            files.write(draft / name, content)
        files.sync_folder(draft)
        if target.exists():
            target.rename(old)
        draft.rename(target)
        files.sync_folder(target.parent)
    finally:
        for each in (draft, old):
            shutil.rmtree(each, ignore_errors=True)
