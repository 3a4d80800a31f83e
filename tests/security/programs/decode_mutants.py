"""Decode a range of mutants as a worker would, in a process whose memory is limited; print what became of them.

Run with model/ on PYTHONPATH: decode_mutants.py FIRST LAST SEED PROGRESS_FILE [KIND]. The file always holds the number
of the mutant at hand, so that after a crash it is known which one killed it.
"""

import collections
import json
import mmap
import resource
import struct
import sys
import time
from pathlib import Path

import numpy as np

from inference.errors import ImageError
from inference.preprocessing import from_table
from sightline_testing.hostile.mutants import mutant, other_seeds, seeds

PREPROCESSING = {
    "resize": "center-crop",
    "crop_ratio": 0.875,
    "size": [224, 224],
    "interpolation": "bicubic",
    "channels": "RGB",
    "mean": [127.0, 127.0, 127.0],
    "std": [128.0, 128.0, 128.0],
    "layout": "NCHW",
}
# Beyond what the process has once it is warm. Less than a decoder may ever want would be a MemoryError, and seen.
ADDRESS_SPACE_BYTES = 512 * 1024**2


def main(first: int, last: int, seed: int, progress: Path, kind: str = "") -> None:
    """Decode the mutants and print one JSON object."""
    prepare = from_table(PREPROCESSING).prepare
    out = np.empty((224, 224, 3), np.uint8)
    for content in other_seeds(kind) if kind else seeds().values():
        prepare(content, out)
    limit_memory()
    base, reset = memory_kib("VmRSS"), Path("/proc/self/clear_refs")
    reset.write_text("5")
    outcomes: collections.Counter[str] = collections.Counter()
    unexpected: list[str] = []
    slowest = (0.0, -1)
    with progress.open("r+b") as file, mmap.mmap(file.fileno(), 8) as at_hand:
        for number in range(first, last):
            at_hand[:] = struct.pack("<q", number)
            content = mutant(number, seed=seed, kind=kind)
            begin = time.perf_counter()
            try:
                prepare(content, out)
                outcomes["decoded"] += 1
            except ImageError as refusal:
                outcomes[refusal.code] += 1
            except BaseException as fault:  # noqa: BLE001  whatever it is, it is what we look for
                unexpected.append(f"mutant {number}: {type(fault).__name__}: {fault}")
            slowest = max(slowest, (time.perf_counter() - begin, number))
    report = {
        "outcomes": outcomes,
        "unexpected": unexpected,
        "slowest_s": slowest[0],
        "slowest": slowest[1],
        "extra_mib": (memory_kib("VmHWM") - base) // 1024,
    }
    sys.stdout.write(json.dumps(report))


def limit_memory() -> None:
    """Let the address space grow by so much and no further."""
    limit = memory_kib("VmSize") * 1024 + ADDRESS_SPACE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def memory_kib(name: str) -> int:
    """One of the memory figures that the kernel keeps of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), *sys.argv[5:])
