"""`make fuzz`: each target for MINUTES, from seeds made here; what it finds lies in STATE_DIR/fuzz."""

import os
import subprocess
import sys
from pathlib import Path

from sightline_testing.hostile import mutants, payloads, requests
from sightline_testing.service import REPOSITORY
from wire.messages import Answer, Failure, Job
from wire.presence import WorkerInfo

HERE = Path(__file__).parent
MAX_BYTES = 32_000
MAX_MEMORY_MIB = 2048
SLOWEST_S = 10


def seeds(target: str) -> list[bytes]:
    """Give what a target begins with."""
    if target == "decode":
        return [*mutants.seeds().values(), *(mutants.mutant(number) for number in range(200))]
    if target == "messages":
        job = Job("1", "a.jpg", "2-3", 5000, 5, "00-" + "a" * 32 + "-" + "b" * 16 + "-01")
        answer = Answer("1", (("tabby", 0.5),), "net", "1", {"queue": 1.5})
        info = WorkerInfo("host:1:2", "host", "net", "1", "6f1d", "90ab", 2, 8, 100.5, 1)
        return [each.encode() for each in (job, answer, Failure("1", "image_broken", "why"), info)]
    forms = [attack.make().partition(b"\r\n\r\n")[2] for name, attack in requests.FORMS.items() if "MB" not in name]
    reports = [f"{{'filename': 'a.jpg', 'prediction': {text!r}, 'score': 0.5}}" for text in payloads.MARKUP]
    keys = "alice " + "0" * 64 + " 60/minute\n"
    texts = [text.encode("utf-8", "replace") for text in (*reports, keys, *payloads.FORGERIES)]
    return [b"limit\n" + form[:MAX_BYTES] for form in forms] + texts


def run(target: str, minutes: float) -> int:
    """Fuzz one target; return its exit status."""
    folder = Path(os.environ.get("STATE_DIR", "var")).resolve() / "fuzz" / target
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(seeds(target)):
        (folder / "corpus" / f"seed-{number}").write_bytes(content)
    options = [
        f"-max_total_time={round(minutes * 60)}",
        f"-max_len={MAX_BYTES}",
        f"-rss_limit_mb={MAX_MEMORY_MIB}",
        f"-timeout={SLOWEST_S}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
    ]
    roots = os.pathsep.join(str(REPOSITORY / root) for root in ("model" if target == "decode" else "api",))
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", HERE / f"fuzz_{target}.py", *options, folder / "corpus"],
        env=os.environ | {"PYTHONPATH": roots},
        check=False,
    )
    return finished.returncode


if __name__ == "__main__":
    wanted = sys.argv[2:] or ["decode", "messages", "edge"]
    sys.exit(max(run(target, float(sys.argv[1])) for target in wanted))
