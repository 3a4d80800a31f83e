"""A certificate authority of a test's own, and what it has signed; made by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """The files of a certificate and of its key."""

    file: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority whose files are in a folder."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> Authority:
        """Make one."""
        folder.mkdir(parents=True, exist_ok=True)
        authority = cls(folder)
        key = _new_key(folder / "ca.key")
        _openssl("req", "-x509", "-key", key, "-subj", "/CN=test authority", "-days", "2", "-out", authority.file)
        return authority

    @property
    def file(self) -> Path:
        """The certificate of the authority itself."""
        return self.folder / "ca.crt"

    def sign(self, name: str, alternatives: str = "IP:127.0.0.1,DNS:localhost") -> Certificate:
        """Return a certificate for these names of a host, for servers and clients."""
        file, request, extensions = (self.folder / f"{name}.{kind}" for kind in ("crt", "csr", "ext"))
        key = _new_key(self.folder / f"{name}.key")
        extensions.write_text(f"subjectAltName={alternatives}\n")
        _openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        signing = ("-CA", self.file, "-CAkey", self.folder / "ca.key", "-CAcreateserial", "-days", "2")
        _openssl("x509", "-req", "-in", request, *signing, "-extfile", extensions, "-out", file)
        return Certificate(file, key)


def _new_key(file: Path) -> Path:
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", file)
    return file


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)
