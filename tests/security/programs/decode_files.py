"""Decode files that must be refused; print the name of each and the MiB that it took at most beyond its bytes.

Run with model/ on PYTHONPATH: decode_files.py FILE...
"""

import sys
from pathlib import Path

from inference.decode import View, decode
from inference.errors import ImageError
from sightline_testing.hostile.asking import memory_mib
from sightline_testing.sample_images import jpeg

VIEW = View(224, 224, 0.875)


def main(files: list[str]) -> None:
    """Decode one after the other."""
    decode(jpeg(), VIEW)
    for file in map(Path, files):
        content = file.read_bytes()
        before = memory_mib("self", "VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        try:
            decode(content, VIEW)
        except ImageError:
            sys.stdout.write(f"{file.name} {round(memory_mib('self', 'VmHWM') - before)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
