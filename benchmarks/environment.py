"""The environment of the systems compared with, separate from the project's own, installed on first use."""

import hashlib
import subprocess
import sys

from benchmarks import settings

REQUIREMENTS = settings.ROOT / "benchmarks" / "requirements" / "peers.txt"
PIP_OPTIONS = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "--retries", "10", "--timeout", "60")


def prepare_peers() -> None:
    """Install what the requirements name, if that changed."""
    folder = settings.PEER_PYTHON.parent.parent
    stamp = folder / "requirements.sha256"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"Installing the systems to compare with into {folder.relative_to(settings.ROOT)} ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    subprocess.run(
        [settings.PEER_PYTHON, "-m", "pip", "install", "--quiet", *PIP_OPTIONS, "-r", REQUIREMENTS], check=True
    )
    stamp.write_text(digest)
