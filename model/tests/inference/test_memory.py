"""Memory that the system gets back."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from inference import files, memory

MODEL = Path(__file__).parents[2]

# Prints how much of OpenCV's code is in memory before and after it was given back, and what the code computes then.
UNMAPPING = """
import re, sys
import cv2, numpy
from inference import memory

def resident():
    parts = re.split(r"VmFlags:.*\\n", open("/proc/self/smaps").read())
    found = [re.search(r"^Rss: +(\\d+)", part, re.M) for part in parts if re.search(r" r-xp .*/cv2.abi3.so\\n", part)]
    return sum(int(match[1]) for match in found)

pixels = numpy.arange(64, dtype=numpy.uint8).reshape(8, 8)
first, before = cv2.resize(pixels, (4, 4)), resident()
memory.unmap_code()
after = resident()
print(before > 0, after, (cv2.resize(pixels, (4, 4)) == first).all(), resident() > 0)
"""


def _resident_kb(folder: Path) -> list[int]:
    """Return how much of each mapped file without a name in this folder is in memory."""
    mappings = re.split(r"^VmFlags:.*\n", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    found = [re.search(r"^Rss: +(\d+)", each, re.MULTILINE) for each in mappings if f"{folder}/#" in each]
    return [int(match[1]) for match in found if match is not None]


def test_a_mapped_copy_needs_no_memory_until_it_is_read_again(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    mapped = files.mapped_copy(content, tmp_path)
    memory.note_mapped(mapped)
    assert mapped[:] == content
    assert _resident_kb(tmp_path) == [len(content) // 1024]
    memory.give_back()
    assert _resident_kb(tmp_path) == [0]
    assert mapped[:] == content
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_mapped_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        files.mapped_copy(b"content", tmp_path / "absent")


def test_code_is_unmapped_until_it_runs_again() -> None:
    ran = subprocess.run([sys.executable, "-c", UNMAPPING], cwd=MODEL, capture_output=True, text=True, check=True)
    assert ran.stdout == "True 0 True True\n"
