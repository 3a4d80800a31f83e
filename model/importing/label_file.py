"""The labels that somebody brings: one a line, in the order of the network's outputs."""

from pathlib import Path

from inference import labels
from inference.errors import BundleError, ImportRefusedError

# TensorFlow's networks for ImageNet count from 1: their first output is none of the thousand.
WITH_BACKGROUND = 1_001


def read(path: Path) -> tuple[str, ...]:
    """The labels of a text file, without what editors add: a byte order mark, blanks and lines at the end."""
    try:
        lines = [line.rstrip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
        return labels.parse("".join(f"{line}\n" for line in lines).encode())
    except UnicodeDecodeError as fault:
        raise ImportRefusedError(f"{path} is no UTF-8 ({fault}); save it as that, a label on each line") from None
    except BundleError as fault:
        raise ImportRefusedError(f"{path}: {fault}; give each output a name of its own") from None


def check_count(found: tuple[str, ...], path: Path, outputs: int) -> None:
    """Refuse a list that is longer or shorter than the network's output, with the reason where it is a usual one."""
    if len(found) == outputs:
        return
    said = f"the network puts out {outputs} numbers for a picture, {path} has {len(found)} labels"
    if outputs == WITH_BACKGROUND and len(found) == outputs - 1:
        raise ImportRefusedError(f"{said}: TensorFlow's first output is none of them; put a line 'background' first")
    if outputs == 1 and len(found) == 2:
        raise ImportRefusedError(
            f"{said}: two classes told by one number; export it with two, such as torch.cat([-z, z], dim=1)"
        )
    raise ImportRefusedError(f"{said}; one label a line is expected, in the order of the outputs")
