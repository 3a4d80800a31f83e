"""Copies of the default bundle that a test may change, with the sums in bundle.toml set right again."""

import hashlib
import re
import shutil
from pathlib import Path

from inference import compiled
from inference.bundle import DESCRIPTION_FILE, SCHEMA
from registry import versions

NAME = "efficientnet-lite0"
SMALLEST_FORM = 1024**2  # findings about a graph, which are stored next to its forms, have a few bytes


def of_graph(bundles: Path, model: bytes, labels: tuple[str, ...], size: tuple[int, int], **changes: str) -> Path:
    """Write a bundle of this graph, which takes pixels from 0 to 255 and puts out logits; return its folder."""
    table = {
        "resize": "stretch",
        "crop_ratio": 1.0,
        "size": list(size),
        "interpolation": "bilinear",
        "channels": "RGB",
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "layout": "NCHW",
    }
    described = {
        "schema": SCHEMA,
        "name": "own",
        "version": "1-fp32",
        "precision": "fp32",
        "preprocessing": table | changes,
        "output": {"kind": "logits"},
    }
    return versions.write(bundles, described, model, labels, {})


def copied(bundles: Path, target: Path, version: str = "1-int8") -> Path:
    """Copy a version of the default bundle, with none of the forms that an engine has compiled of it."""
    return Path(shutil.copytree(bundles / NAME / version, target, ignore=shutil.ignore_patterns(compiled.FOLDER)))


def link_compiled(bundles: Path, target: Path) -> None:
    """Give the versions in another folder of bundles what an engine has compiled of any version, and nothing else."""
    if (bundles / compiled.KEY_FILE).exists():
        shutil.copy(bundles / compiled.KEY_FILE, target)
    forms = [path for path in (bundles / NAME).glob(f"*/{compiled.FOLDER}/*") if path.stat().st_size > SMALLEST_FORM]
    for folder in target.glob("*/*/"):
        (folder / compiled.FOLDER).mkdir(exist_ok=True)
        for form in forms:
            (folder / compiled.FOLDER / form.name).symlink_to(form.absolute())


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
