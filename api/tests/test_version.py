import subprocess
import sys

import pytest
from flask.testing import FlaskClient

from tests.serving import API
from wire import __version__


def test_the_page_the_protocol_and_the_metrics_show_the_version(client: FlaskClient) -> None:
    assert f"Sightline {__version__}" in client.get("/").text
    assert client.get("/v2").get_json()["version"] == __version__
    assert f'sightline_build_info{{version="{__version__}"}} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("command", ["commands.clean_uploads", "commands.manage_keys"])
def test_the_commands_print_the_version(command: str) -> None:
    printed = subprocess.run([sys.executable, "-m", command, "--version"], cwd=API, capture_output=True, check=True)
    assert printed.stdout.decode() == f"sightline {__version__}\n"
