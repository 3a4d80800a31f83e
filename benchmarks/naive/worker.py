"""The usual model worker: pop one job at a time, predict, set the answer under the job's id."""

import json

import redis

from benchmarks import settings
from benchmarks.naive import QUEUE
from benchmarks.peers.pillow_onnx import PillowOnnxClassifier

ANSWER_LIFETIME_S = 60


def serve_jobs() -> None:
    """Serve jobs for ever, one after the other."""
    database = redis.Redis(unix_socket_path=settings.REDIS_SOCKET)
    classifier = PillowOnnxClassifier(settings.BUNDLE)
    while True:
        _, message = database.brpop([QUEUE])  # type: ignore[misc]
        job = json.loads(message)
        pixels = classifier.decode((settings.UPLOADS / job["image_name"]).read_bytes())
        database.set(job["id"], json.dumps(classifier.answer([pixels])[0]), ex=ANSWER_LIFETIME_S)


if __name__ == "__main__":
    serve_jobs()
