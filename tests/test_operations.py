"""docs/how-to/: a backup brings everything back, and two versions run side by side on the same files.

The commands are those of the pages.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sightline_testing.checkout import Checkout, environment, make_checkout, report, settings, shell
from sightline_testing.client import Client
from sightline_testing.documents import SHELL, blocks
from sightline_testing.redis_server import free_port
from sightline_testing.sample_images import good
from sightline_testing.service import START_TIMEOUT_S, running_service
from sightline_testing.waiting import wait_for_end, wait_until


def commands_with(words: str) -> str:
    """Return the one block of commands in the documentation that holds these words."""
    [text] = [each.text for each in blocks(*SHELL) if words in each.text]
    return text


def test_a_backup_brings_back_reports_images_models_and_keys(checkout: Checkout, tmp_path: Path) -> None:
    named = checkout.predicted()
    report_id = report(checkout.service.url, checkout.predicted())
    made = checkout.run(commands_with("tar -C var -czf"))
    assert made.returncode == 0, made.stderr
    (checkout.folder / "backup.tar.gz").rename(tmp_path / "backup.tar.gz")
    restored = shell(tmp_path, commands_with("tar -C var -xzf").replace("make serve", ""), {})
    assert restored.returncode == 0, restored.stderr
    with running_service(tmp_path / "var", settings(tmp_path / "var")) as service:
        client = Client(service.url)
        assert report(service.url, named), "the ids of earlier answers are known"
        inbox = client.get("/review?status=all", {"X-API-Key": checkout.operator_key})
        assert report_id in inbox.text
        [image, *_] = re.findall(r'src="(/display/[^"]+)"', inbox.text)
        assert client.get(image).status == 200
        assert client.upload("/predict", good("baseline.jpg").content).status == 200


def test_the_next_version_runs_beside_this_one_on_the_same_files(checkout: Checkout, tmp_path: Path) -> None:
    named = checkout.predicted()
    port = free_port()
    commands = commands_with("OLD=/srv").replace("/srv/sightline/var", str(checkout.folder / "var"))
    with serving(make_checkout(tmp_path / "next"), commands.replace("8001", str(port))):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_ready(url), "the next version is ready", START_TIMEOUT_S)
        report_id = report(url, named)  # it knows what the running one has answered
        assert report_id in (checkout.folder / "var" / "feedback" / "feedback.csv").read_text()


@contextmanager
def serving(folder: Path, script: str) -> Iterator[None]:
    """Run commands that continue until Ctrl-C, which is pressed when the block ends."""
    command = ["bash", "-euc", script]
    small = {"MODEL_WORKERS": "1", "TRAINER": "0"}  # what there is more of takes its time to start
    with subprocess.Popen(command, cwd=folder, env=environment(folder) | small, start_new_session=True) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                wait_for_end(process, "the commands ended after Ctrl-C")
            finally:
                with suppress(ProcessLookupError):  # what the shell had started
                    os.killpg(process.pid, signal.SIGKILL)


def is_ready(url: str) -> bool:
    try:
        return Client(url).get("/readyz").status == 200
    except OSError:
        return False
