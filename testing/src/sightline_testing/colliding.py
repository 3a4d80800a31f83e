"""Two images of one MD5, and processes that store images at the same moments."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Two contents of one MD5: the pair published by X. Wang and others in 2004.
COLLIDING = [
    bytes.fromhex(
        f"d131dd02c5e6eec4693d9a0698aff95c2fcab5{first}12467eab4004583eb8fb7f8955ad340609f4b30283e4888325{second}415a"
        f"085125e8f7cdc99fd91dbd{third}280373c5b{fourth}8823e3156348f5bae6dacd436c919c6dd53e2{fifth}487da03fd02396306d"
        f"248cda0e99f33420f577ee8ce54b67080{sixth}80d1ec69821bcb6a8839396f965{seventh}b6ff72a70"
    )
    for first, second, third, fourth, fifth, sixth, seventh in (
        ("87", "71", "f", "d", "b", "a", "2"),
        ("07", "f1", "7", "d", "3", "2", "a"),
    )
]
COLLIDING_NAME = hashlib.md5(COLLIDING[0], usedforsecurity=False).hexdigest() + ".bmp"
ROUNDS = 100
STORING = """
import os, sys, time
from pathlib import Path
from storage.images.folder import ImageFolder
folder, name, data, rounds, fault = Path(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3]), *map(int, sys.argv[4:])
def fail(*_, **__):
    raise OSError(fault, "no links here")
if fault:
    os.link = fail
print("ready", flush=True)
begin = float(input())
for number in range(rounds):
    while time.time() < begin + number / 400:
        pass
    print(ImageFolder(folder / str(number)).put(name, data))
"""


def stored_at_once(folder: Path, contents: Sequence[bytes], link_fault: int = 0) -> list[list[str]]:
    """Store each content by a process of its own, in many folders at the same moments; return the names by process."""
    return printed_at_once(
        *([STORING, folder, COLLIDING_NAME, content.hex(), ROUNDS, link_fault] for content in contents)
    )


def printed_at_once(*programs: Sequence[object]) -> list[list[str]]:
    """Run programs at the same moment, each with its arguments, and return the words that each printed."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", *map(str, program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for program in programs
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    with ThreadPoolExecutor(len(processes)) as pool:
        begin = f"{time.time() + 0.05}\n"
        return [output.split() for output, _ in pool.map(lambda process: process.communicate(begin), processes)]
