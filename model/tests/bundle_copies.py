"""Copies of the default bundle that a test may change, with the sums in bundle.toml set right again."""

import hashlib
import re
import shutil
from pathlib import Path

from inference.bundle import DESCRIPTION_FILE

NAME = "efficientnet-lite0"


def copied(bundles: Path, target: Path, version: str = "1-int8") -> Path:
    """Copy a version of the default bundle, with none of the forms that an engine has compiled of it."""
    return Path(shutil.copytree(bundles / NAME / version, target, ignore=shutil.ignore_patterns("compiled")))


def sealed(folder: Path, **files: bytes) -> Path:
    """Write these files, named by their stem (`model`, `labels`), and their SHA-256 into bundle.toml."""
    path = folder / DESCRIPTION_FILE
    text = path.read_text(encoding="utf-8")
    for stem, content in files.items():
        name = {"model": "model.onnx", "labels": "labels.txt"}[stem]
        (folder / name).write_bytes(content)
        line = f'"{name}" = "{hashlib.sha256(content).hexdigest()}"'
        text, count = re.subn(f'^"{re.escape(name)}" = .*$', line, text, flags=re.MULTILINE)
        assert count == 1
    path.write_text(text, encoding="utf-8")
    return folder
