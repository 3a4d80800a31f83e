"""All output of a process to standard error becomes lines of its log."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SET_UP = """
import json, logging, sys, threading, warnings
from wire.process import captured_stderr

class Json(logging.Formatter):
    def format(self, record):
        text = record.getMessage() + (self.formatException(record.exc_info) if record.exc_info else "")
        return json.dumps({"level": record.levelname, "message": text})

handler = logging.StreamHandler()
handler.setFormatter(Json())
logging.basicConfig(handlers=[handler])
captured_stderr.capture()
"""


def lines(program: str) -> list[dict[str, str]]:
    done = subprocess.run([sys.executable, "-c", SET_UP + program], capture_output=True, text=True, check=False)
    return [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("raise ValueError('whole')", "ValueError: whole"),
        ("threading.Thread(target=lambda: 1 / 0).start()", "ZeroDivisionError"),
        ("warnings.warn('old way')", "old way"),
        ("print('printed', file=sys.stderr)", "printed"),
        ("sys.stderr.write('half '); sys.stderr.write('and half\\n')", "half and half"),
        ("class A:\n    def __del__(self):\n        raise OSError('collected')\nA()", "OSError: collected"),
        (
            "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()",
            "ZeroDivisionError",
        ),
        ("logging.error('%s')\nlogging.error('%d', 'x')", "%s"),
    ],
)
def test_it_is_a_record(program: str, expected: str) -> None:
    assert any(expected in line["message"] for line in lines(program))


@pytest.mark.parametrize("program", ["sys.exit(0)", "raise KeyboardInterrupt", "sys.stderr.write('\\n\\n')"])
def test_an_end_that_was_asked_for_and_blank_lines_are_none(program: str) -> None:
    assert lines(program) == []


def test_a_log_that_cannot_be_written_does_not_end_the_process() -> None:
    program = SET_UP + "print('x', file=sys.stderr)\nlogging.error('y')\n1 / 0"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", program], stderr=full, check=False)
    assert done.returncode in (1, 120)
