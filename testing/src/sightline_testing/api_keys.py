"""API keys for a service that a test starts."""

import subprocess
import sys
from pathlib import Path

from sightline_testing.service import REPOSITORY


def add_key(state_dir: Path, *words: str) -> str:
    """Add a key to the file of a state folder, as `make api-keys DO="add ..."` does, and return the key."""
    state_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "commands.manage_keys", "--file", str(state_dir / "api_keys"), "add", *words]
    done = subprocess.run(command, cwd=REPOSITORY / "api", capture_output=True, text=True, check=True)
    return done.stdout.strip()


def authorization(key: str) -> dict[str, str]:
    """Return the header that presents a key."""
    return {"Authorization": f"Bearer {key}"}
