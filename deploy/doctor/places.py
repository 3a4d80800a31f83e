"""Disk, shared memory, the folders that are written to, and the port."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from launcher import ports, programs
from launcher.errors import PortUnavailableError
from launcher.settings import Settings
from sightline.findings import Finding, bad, good, warning

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  it is looked at
MIB = 1024**2
# What uploads leave free anyway (MIN_FREE_BYTES of the api), and what is little for Redis, images and new models.
MIN_FREE, LITTLE_FREE = 64 * MIB, 1024 * MIB


def findings(own: Settings, running: int | None) -> Iterator[Finding]:
    """`running` is the process that serves from this state folder."""
    environment = programs.environment_of(own)
    yield disk(own.state_dir)
    yield shared_memory(SHARED_MEMORY)
    yield folder("uploads", Path(environment["UPLOAD_FOLDER"]))
    feedback = Path(environment["FEEDBACK_FILEPATH"]).parent
    yield folder("feedback", feedback)
    yield from unread_lines(feedback)
    yield port(own.host, own.port, running)


def disk(place: Path) -> Finding:
    """Return whether there is room for images, reports and models."""
    there = next(path for path in (place, *place.parents) if path.exists())
    free = shutil.disk_usage(there).free
    said = f"{free / 1024**3:.1f} GiB free"
    if free < MIN_FREE:
        return bad("disk", said, "uploads are refused (507): `make clean-uploads`, or STATE_DIR on another disk")
    if free < LITTLE_FREE:
        return warning("disk", said, "`make clean-uploads` removes old images that no report refers to")
    return good("disk", said)


def shared_memory(place: Path) -> Finding:
    """Return where the api's processes show that they live."""
    if not os.access(place, os.W_OK):
        remedy = "mount a tmpfs there; until then the api's heartbeats are written to a disk, which may hang"
        return warning(str(place), "cannot be written to", remedy)
    return good(str(place), f"{shutil.disk_usage(place).free / MIB:.0f} MiB free")


def folder(subject: str, place: Path) -> Finding:
    """Return whether a file can be written there."""
    if not place.exists():
        return good(subject, f"{place} is made at the first start")
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"?")
            file.flush()
    except OSError as fault:
        remedy = f"have it belong to who runs the service: chown -R {os.getuid()} {place}"
        return bad(subject, f"{place} cannot be written to: {fault.strerror}", remedy)
    return good(subject, f"{place} can be written to")


def unread_lines(place: Path) -> Iterator[Finding]:
    """Lines of the CSV files that the service could not read at its last check, as its index keeps them."""
    import sqlite3  # noqa: PLC0415  a Python without it is no reason not to look at everything else

    address = f"file:{quote(str(place / 'reports.sqlite3'))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as database:
            [count] = database.execute("SELECT coalesce(sum(faults), 0) FROM sources").fetchone()
            first = database.execute("SELECT source, line, reason FROM faults ORDER BY source DESC, line").fetchone()
    except sqlite3.Error:  # none yet, or damaged: the service rebuilds it
        return
    if count and first:
        said = f"{count} lines of the CSV files cannot be read; the first: {first[0]}, line {first[1]} {first[2]}"
        yield warning("reports", said, "correct or remove the lines that /review names")


def port(host: str, number: int, running: int | None) -> Finding:
    """Return whether the service can listen, or does so already."""
    try:
        ports.listen(host, number).close()
    except PortUnavailableError as fault:
        if running is not None and fault.is_taken:
            return good("port", f"{number} is taken while the service runs (pid {running})")
        said, _, remedy = str(fault).partition(". ")
        return bad("port", said, remedy or "set HOST and PORT otherwise")
    if running is not None:
        return good("port", f"{number} is free; the service (pid {running}) listens on another")
    return good("port", f"{number} of {host} is free")
