"""The other systems: their environments, and answers in another protocol."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from benchmarks.client import Endpoint
from benchmarks.environment import REQUIREMENTS
from benchmarks.systems import ALL_PEERS


class _Triton(BaseHTTPRequestHandler):
    """Answers as Triton does to a raw body: JSON, then the tensors' bytes."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Inference-Header-Content-Length"] == "0"
        score = {"name": "score", "datatype": "FP32", "parameters": {"binary_data_size": 4}}
        label = {"name": "prediction", "datatype": "BYTES", "parameters": {"binary_data_size": 9}}
        head = json.dumps({"outputs": [score, label]}).encode()
        self.send_response(200)
        self.send_header("Inference-Header-Content-Length", str(len(head)))
        self.end_headers()
        self.wfile.write(head + bytes(4) + b"\5\0\0\0tabby")

    def log_message(self, *_arguments: object) -> None:
        """Stay silent."""


def test_the_label_is_found_among_the_tensors_of_an_answer() -> None:
    with HTTPServer(("127.0.0.1", 0), _Triton) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        outcome = Endpoint(f"http://127.0.0.1:{server.server_port}/", "kserve").outcome(b"image")
        thread.join()
    assert outcome == "tabby"


def test_each_peer_with_an_environment_of_its_own_has_pinned_requirements() -> None:
    for system in ALL_PEERS:
        if system.own_environment:
            assert "--hash=sha256:" in (REQUIREMENTS / f"{system.own_environment}.txt").read_text()
