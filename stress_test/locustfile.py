"""Locust: people who open the page, and programs that have pictures named.

    .venv/bin/python deploy/install.py stress
    .venv/bin/locust -f stress_test/locustfile.py --host http://127.0.0.1:8000

IMAGENET_DIR names a folder of photographs (default: shared/imagenet beside the checkout); without one, pictures are
made by code. An answer that is not the one this picture had at the start counts as a failure, not only a bad status.
"""

import os
import random
from pathlib import Path
from typing import Any

from locust import FastHttpUser, between, events, task

PHOTOGRAPHS = Path(os.environ.get("IMAGENET_DIR") or Path(__file__).parents[2] / "shared" / "imagenet")
MADE_PICTURES = 20

pictures: list[tuple[str, bytes]] = []
# The first answer to each picture; whoever gets another one later has found a fault.
first_answers: dict[str, str] = {}


@events.test_start.add_listener
def read_pictures(**_: Any) -> None:
    """Read the photographs into memory once, so that the disk is no part of what is measured."""
    if not pictures:
        pictures.extend((file.name, file.read_bytes()) for file in sorted(PHOTOGRAPHS.glob("*.JPEG")))
    if not pictures:
        pictures.extend(made_pictures())


def made_pictures() -> list[tuple[str, bytes]]:
    """Make JPEGs with the statistics of photographs."""
    from sightline_testing.pictures import jpeg  # noqa: PLC0415 - only where there are no photographs

    return [(f"made-{seed}.jpg", jpeg(1024, 768, seed=seed)) for seed in range(MADE_PICTURES)]


class Visitor(FastHttpUser):
    """Opens the page and, mostly, has pictures named."""

    wait_time = between(0.0, 0.1)

    @task(1)
    def index(self) -> None:
        """Open the page."""
        with self.client.get("/", name="index", catch_response=True) as response:
            if "<form" not in (response.text or ""):
                response.failure(f"status {response.status_code}, and no form in the page")

    @task(9)
    def predict(self) -> None:
        """Have a picture named, and compare with what it was named first."""
        name, content = random.choice(pictures)
        files = {"file": (name, content, "image/jpeg")}
        with self.client.post("/predict", files=files, name="predict", catch_response=True) as response:
            if (fault := fault_in(name, response)) is not None:
                response.failure(fault)


def fault_in(name: str, response: Any) -> str | None:
    """Return what is wrong with an answer; None where nothing is."""
    if response.status_code != 200:
        return f"status {response.status_code}"
    answer = response.json()
    if list(answer) != ["success", "prediction", "score"] or answer["success"] is not True:
        return "an answer of another shape than promised"
    wanted = first_answers.setdefault(name, answer["prediction"])
    return None if answer["prediction"] == wanted else f"{name}: first {wanted}, now {answer['prediction']}"
