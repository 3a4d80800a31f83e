"""Which modules and functions of ours a `POST /predict` passes in its own thread, when no cache has the answer.

    .venv/bin/python benchmarks/own/prediction_path.py [--list]

Calls the WSGI application with a form that holds one small JPEG, beside a real Redis and a worker without a model. The
first requests warm everything up; the last one is counted with sys.setprofile.
"""

import argparse
import io
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType

REPOSITORY = Path(__file__).resolve().parents[2]
API, WIRE = REPOSITORY / "api", REPOSITORY / "wire" / "src" / "wire"
WARM_UP = 5


class Path_:
    """The functions that were entered, in order, and how often the module changed."""

    def __init__(self) -> None:
        self.calls: list[CodeType] = []

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """Keep a call of a function of ours; a profile function."""
        if event == "call" and frame.f_code.co_filename.startswith((str(API), str(WIRE))):
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
        return sum(before != after for before, after in zip(modules, modules[1:], strict=False))


def module_of(code: CodeType) -> str:
    """Return the module of a function, as a path below its import root."""
    file = Path(code.co_filename)
    root = WIRE.parent if file.is_relative_to(WIRE) else API
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


def traced(folder: Path) -> Path_:
    """Send requests to the application and return the path of the last one."""
    sys.path[:0] = [str(API), str(REPOSITORY)]
    os.environ |= {"UPLOAD_FOLDER": str(folder / "uploads"), "FEEDBACK_FILEPATH": str(folder / "feedback" / "feedback")}
    from sightline_testing import pictures
    from sightline_testing.redis_server import RedisServer, redis_binaries

    server = RedisServer(next(iter(redis_binaries().values())), folder)
    server.start()
    try:
        os.environ |= {"REDIS_IP": server.host, "REDIS_PORT": str(server.port)}
        import middleware
        from app import app
        from tests.serving import EchoWorker

        with EchoWorker(server.port):
            client, path = app.test_client(), Path_()
            for seed, jpeg in enumerate(distinct(pictures.jpeg)):
                if seed == WARM_UP:
                    sys.setprofile(path.note)
                answer = client.post("/predict", data={"file": (io.BytesIO(jpeg), "picture.jpg")})
                sys.setprofile(None)
                assert answer.status_code == 200, answer.data
        middleware.close_queue()
        return path
    finally:
        server.close()


def distinct(make: "object") -> Iterator[bytes]:
    """Yield images that no cache has seen."""
    for seed in range(WARM_UP + 1):
        yield make(64, 48, seed=seed + 1)  # type: ignore[operator]


if __name__ == "__main__":
    main()
