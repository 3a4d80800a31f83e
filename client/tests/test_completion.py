"""Completion as a user of a terminal has it: a real shell, pressed keys, and the resulting line."""

import contextlib
import os
import pty
import re
import select
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline.commands import main

TIMEOUT_S = 60.0
SHELLS = {"bash": ["bash", "--norc", "-i"], "zsh": ["zsh", "-f", "-i"]}
ERASE_LINE = "\x15"
# What is typed before Tab, and what the line is afterwards.
LINES = {
    "sightline cl": "sightline classify ",
    "sightline classify --col": "sightline classify --column ",
    "sightline --url x report --lab": "sightline --url x report --label ",
    "sightline classify ph": r"sightline classify photos\ 1/",
    "sightline classify --from li": "sightline classify --from list.csv ",
}


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            os.chdir(folder)
            environment = {"PATH": os.defpath, "TERM": "dumb", "HOME": str(folder), "PS1": "$ "}
            os.execvpe(command[0], command, environment)  # noqa: S606  the shell itself
        self._shown = ""

    def type(self, keys: str, until: str) -> str:
        """Press keys and wait until the terminal shows a text; return all that it has shown since."""
        self._shown = ""
        os.write(self._terminal, keys.encode())
        end = time.monotonic() + TIMEOUT_S
        while until not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\x07\x08]", "", self._shown):
            readable, _, _ = select.select([self._terminal], [], [], max(end - time.monotonic(), 0))
            assert readable, f"waited for {until!r}, and was shown {self._shown!r}"
            self._shown += os.read(self._terminal, 65536).decode(errors="replace")
        return self._shown

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._terminal, b"\x15exit\n")
        os.close(self._terminal)
        os.waitpid(self._process, 0)


@pytest.fixture(params=SHELLS)
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which(request.param) is None:
        if os.environ.get("CI"):
            pytest.fail(f"no {request.param}: install it")
        pytest.skip(f"no {request.param}")
    terminal = Terminal(SHELLS[request.param], tmp_path)
    yield terminal
    terminal.close()


def test_a_shell_completes_commands_options_and_files(
    terminal: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos 1").mkdir()
    (tmp_path / "list.csv").touch()
    assert main(["completion"]) == 0
    (tmp_path / "completion").write_text(capsys.readouterr().out)
    terminal.type("source ./completion; echo 're'ady\n", "ready")
    for typed, line in LINES.items():
        terminal.type(f"{typed}\t", line)
        terminal.type(f"{ERASE_LINE}echo 'ne'xt\n", "next")
    shown = terminal.type("sightline \t\t", "report")
    assert "list.csv" not in shown, "a command comes first"
