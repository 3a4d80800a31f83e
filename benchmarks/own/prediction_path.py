"""Which modules and functions of ours a `POST /predict` passes in its own thread, when no cache has the answer.

    PYTHONPATH=api:. .venv/bin/python -m benchmarks.own.prediction_path [--list]

Calls the WSGI application with a form that holds one small JPEG, with a real Redis and a worker without a model. The
first requests warm everything up; of the last ones, each counted with sys.setprofile, the shortest path is taken: a
process that had to wait for a processor passes functions that look again.
"""

import argparse
import io
import sys
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType

import settings
from app import create_app  # type: ignore[import-not-found]
from predict import job_queue  # type: ignore[import-not-found]  # api is another import root
from sightline_testing.redis_server import RedisServer, redis_binaries
from sightline_testing.sample_images import jpeg
from tests.serving import EchoWorker  # type: ignore[attr-defined]  # those of api

REPOSITORY = Path(__file__).resolve().parents[2]
API, LIBRARIES = REPOSITORY / "api", [REPOSITORY / name / "src" for name in ("wire", "storage")]
OURS = tuple(map(str, (API, *LIBRARIES)))
WARM_UP, MEASURED = 5, 3


class CallPath:
    """The functions that were entered, in order, and how often the module changed."""

    def __init__(self) -> None:
        self.calls: list[CodeType] = []

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """Keep a call of a function of ours; a profile function."""
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            self.calls.append(frame.f_code)

    def functions(self) -> Counter[str]:
        """Return how often each function was entered."""
        return Counter(f"{module_of(code)}:{code.co_qualname}" for code in self.calls)

    def modules(self) -> list[str]:
        """Return the modules in the order in which they were first entered."""
        return list(dict.fromkeys(map(module_of, self.calls)))

    def changes(self) -> int:
        """Return how often a call led into another module than the call before it."""
        modules = list(map(module_of, self.calls))
        return sum(before != after for before, after in pairwise(modules))


def module_of(code: CodeType) -> str:
    """Return the module of a function, as a path below its import root."""
    file = Path(code.co_filename)
    root = next((each for each in LIBRARIES if file.is_relative_to(each)), API)
    return str(file.relative_to(root).with_suffix(""))


def main() -> None:
    """Print the numbers, and with --list the functions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--list", action="store_true", help="name the functions in the order of their first call")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = traced(Path(folder))
    functions = path.functions()
    print(f"{len(path.modules())} modules, {len(functions)} functions, {path.changes()} changes of module")
    if options.list:
        print("\n".join(f"{count:3} {name}" for name, count in functions.items()))


def traced(folder: Path) -> CallPath:
    """Send requests to the application and return the shortest path of the last ones."""
    server = RedisServer(next(iter(redis_binaries().values())), folder)
    server.start()
    settings.REDIS_IP, settings.REDIS_PORT = server.host, server.port
    settings.UPLOAD_FOLDER = str(folder / "uploads")
    paths = []
    try:
        client = create_app().test_client()
        with EchoWorker(server.port):
            for seed in range(WARM_UP + MEASURED):
                form = {"file": (io.BytesIO(jpeg(64, 48, seed=seed)), "image.jpg")}  # no cache has seen it
                paths.append(CallPath())
                sys.setprofile(paths[-1].note if seed >= WARM_UP else None)
                answer = client.post("/predict", data=form)
                sys.setprofile(None)
                if answer.status_code != 200:
                    raise RuntimeError(answer.text)
        job_queue.close_queue()
    finally:
        server.close()
    return min(paths[WARM_UP:], key=lambda path: len(path.functions()))


if __name__ == "__main__":
    main()
