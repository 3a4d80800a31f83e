"""Writing what other processes read."""

import subprocess
import sys
from pathlib import Path

MODEL = Path(__file__).parents[2]


def test_a_folder_is_changed_by_one_process_at_a_time(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, time; from inference import files\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "for _ in range(20):\n"
        "    with files.alone_in(folder):\n"
        "        count = int((folder / 'count').read_text())\n"
        "        files.replace(folder / 'count', str(count + 1).encode())\n"
    )
    (tmp_path / "count").write_text("0")
    started = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=MODEL) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "60"
