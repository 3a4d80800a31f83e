"""Send a job, fork, and send jobs from parent and children in parallel; print one line for each answer."""

import os
import sys
import time

from wire import Address, Answer, Producer
from wire.errors import NoWorker

CHILDREN = 3
producer = Producer(
    Address(port=int(sys.argv[1])), sys.argv[2], timeout_s=60.0, worker_grace_s=3600.0, redis_timeout_s=60.0
)


def ask(who: str) -> None:
    """Ask a few times."""
    for number in range(5):
        answer = submit(f"{who}-{number}.jpg")
        os.write(1, f"{answer.predictions[0][0]}\n".encode())


def submit(image: str) -> Answer:
    """Submit a job; again where this process has seen no worker yet, since the machine stood still."""
    while True:
        try:
            return producer.submit(image, timeout_s=100)
        except NoWorker:
            time.sleep(0.05)


ask("before")
children = []
for child in range(CHILDREN):
    pid = os.fork()
    if pid == 0:
        ask(f"child{child}")
        producer.close()
        os._exit(0)
    children.append(pid)
ask("parent")
for pid in children:
    os.waitpid(pid, 0)
ask("after")
producer.close()
