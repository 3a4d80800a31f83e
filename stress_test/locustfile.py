"""Locust: people who open the page, have images named, look at them and report wrong names.

    .venv/bin/python deploy/install.py dev stress
    .venv/bin/locust -f stress_test/locustfile.py --host http://127.0.0.1:8000

and with `--headless --users 32 --spawn-rate 32 --run-time 60s` without the web page. Images are made by code unless
`--images` names a folder. A wrong answer is a failure. `make stress` runs this file for the whole matrix.
"""

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, events, task

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # Locust itself knows the folder of this file alone

from stress_test import pool, weights  # noqa: E402
from stress_test.answers import Answers  # noqa: E402
from stress_test.pace import ClosedLoop, ConstantRate  # noqa: E402
from stress_test.record import Recorder  # noqa: E402

MADE_IMAGES = ROOT / "var" / "stress" / "images"
TASKS = ("index", "predict", "display", "feedback")
SIZES = (*(size.name for size in pool.SIZES), pool.OTHER)
# What users do, and how long they think. `exercise` is the course exercise's own file: one image again and again.
BEHAVIOURS = {
    "mixed": ("index=5,predict=85,display=7,feedback=3", 0.0, 0.1),
    "exercise": ("index=1,predict=3", 1.0, 5.0),
}


class Load:
    """What all users of this process share."""

    pool: pool.Pool
    answers: Answers
    recorder: Recorder
    pace: ClosedLoop | ConstantRate
    tasks: weights.Weights
    sends_one_file: bool


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """Add our options to Locust's, for the command line and the web page."""
    add = parser.add_argument_group("Sightline").add_argument
    add("--behaviour", choices=list(BEHAVIOURS), default="mixed", help="what users do and how long they think")
    add("--tasks", default="", help=f"other weights, such as index=1,predict=9; of {', '.join(TASKS)}")
    add("--wait-min", type=float, default=-1.0, help="least seconds of a user between requests; -1: the behaviour's")
    add("--wait-max", type=float, default=-1.0, help="most seconds of a user between requests; -1: the behaviour's")
    add("--rate", type=float, default=0.0, help="requests a second, whether answers come or not; 0: users wait")
    add("--images", "--images", default="", help="folder of images to send; empty: made by code")
    add("--sizes", default="thumbnail=20,photograph=75,phone=5,other=1", help="weights of the images' sizes")
    add("--repeats", type=float, default=0.0, help="share of uploads that are a file sent before, byte for byte")
    add("--warm-up", type=float, default=0.0, help="seconds at the start that do not count")
    add("--record", default="", help="file to write every request of the run to, as JSON")


@events.init.add_listener
def make_images(environment: Any, **_: Any) -> None:
    """Make the images while no clock runs yet."""
    if environment.parsed_options is not None and not environment.parsed_options.images:
        # In a thread: Locust's clock stands while its own is busy, and the run would end immediately.
        gevent.get_hub().threadpool.apply(pool.make, (MADE_IMAGES,))


@events.test_start.add_listener
def prepare(environment: Any, **_: Any) -> None:
    """Have the images in memory before the first request: the disk is no part of what is measured."""
    told = environment.parsed_options
    tasks, least_s, most_s = BEHAVIOURS[told.behaviour]
    folder = Path(told.images) if told.images else MADE_IMAGES
    Load.pool = pool.Pool(pool.read(folder), weights.parse(told.sizes, SIZES), told.repeats)
    Load.answers = Answers()
    Load.tasks = weights.parse(told.tasks or tasks, TASKS)
    Load.sends_one_file = told.behaviour == "exercise"
    least_s = told.wait_min if told.wait_min >= 0 else least_s
    Load.pace = ClosedLoop(least_s, max(least_s, told.wait_max if told.wait_max >= 0 else most_s))
    if told.rate > 0:
        Load.pace = ConstantRate(told.rate, time.monotonic)
    Load.recorder = Recorder(time.time() + told.warm_up)
    if told.warm_up > 0:
        gevent.spawn_later(told.warm_up, environment.stats.clear_all)


@events.request.add_listener
def record(name: str, response_time: float, exception: Any, start_time: float, response: Any = None, **_: Any) -> None:
    """Keep what came of each request."""
    status = getattr(response, "status_code", 0) or 0
    Load.recorder.add(start_time, name, response_time, status, str(exception) if exception else "")


@events.test_stopping.add_listener
def stop_record(environment: Any, **_: Any) -> None:
    """Wait for running requests; new ones do not count."""
    Load.recorder.stop(time.time())


@events.test_stop.add_listener
def write_record(environment: Any, **_: Any) -> None:
    """Write the record to the file of `--record`."""
    if environment.parsed_options.record:
        Path(environment.parsed_options.record).write_text(json.dumps(Load.recorder.document()), encoding="utf-8")


class Visitor(FastHttpUser):
    """A user, in a browser or by program; the next action is drawn by weight."""

    # A full queue answers long before; what takes longer than this was lost.
    connection_timeout = 30.0
    network_timeout = 30.0
    max_retries = 0

    def on_start(self) -> None:
        """Nothing was uploaded yet."""
        self.last: tuple[str, str, float] | None = None

    def wait_time(self) -> float:
        """Return the seconds until this user's next request."""
        return Load.pace.wait_s()

    @task
    def visit(self) -> None:
        """Do one thing."""
        getattr(self, weights.choose(Load.tasks))()

    def index(self) -> None:
        """Open the page."""
        with self.client.get("/", name="index", catch_response=True) as response:
            if "<form" not in (response.text or ""):
                response.failure(f"status {response.status_code}, and no form in the page")

    def predict(self) -> None:
        """Have an image named, and see that the name is right."""
        image, content = (Load.pool.first, Load.pool.first.content) if Load.sends_one_file else Load.pool.next()
        files = {"file": (image.name, content, image.media_type)}
        with self.client.post("/predict", files=files, name="predict", catch_response=True) as response:
            document = _json(response)
            fault = Load.answers.fault(image, response.status_code, response.headers or {}, document)
            if fault is not None:
                response.failure(fault)
                return
        stored = f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}{Path(image.name).suffix.lower()}"
        self.last = (stored, document["prediction"], document["score"])

    def display(self) -> None:
        """Look at the image that was uploaded last; the first thing one does is to upload one."""
        if self.last is None:
            self.predict()
            return
        with self.client.get(f"/display/{self.last[0]}", name="display", catch_response=True) as response:
            if response.status_code != 200 or not response.content:
                response.failure(f"status {response.status_code} for an image that was stored")

    def feedback(self) -> None:
        """Report the last answer as wrong, as the page's form does."""
        if self.last is None:
            self.predict()
            return
        name, label, score = self.last
        report = repr({"filename": name, "prediction": label, "score": score})
        with self.client.post("/feedback", data={"report": report}, name="feedback", catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code} for a report")


def _json(response: Any) -> Any:
    try:
        return json.loads(response.content or b"null")
    except ValueError:
        return None
