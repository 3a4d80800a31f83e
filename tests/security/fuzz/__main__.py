"""`make fuzz`: each target for MINUTES, from seeds made here; its findings are in STATE_DIR/fuzz."""

import os
import subprocess
import sys
from pathlib import Path

from sightline_testing.hostile import fuzz_seeds
from sightline_testing.service import REPOSITORY

HERE = Path(__file__).parent
MAX_MEMORY_MIB = 2048
SLOWEST_S = 10


def run(target: str, minutes: float) -> int:
    """Fuzz one target; return its exit status."""
    folder = Path(os.environ.get("STATE_DIR", "var")).resolve() / "fuzz" / target
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(fuzz_seeds.TARGETS[target]()):
        (folder / "corpus" / f"seed-{number}").write_bytes(content)
    options = [
        f"-max_total_time={round(minutes * 60)}",
        f"-max_len={fuzz_seeds.MAX_BYTES}",
        f"-rss_limit_mb={MAX_MEMORY_MIB}",
        f"-timeout={SLOWEST_S}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
    ]
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", HERE / f"fuzz_{target}.py", *options, folder / "corpus"],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / fuzz_seeds.ROOTS[target])},
        check=False,
    )
    return finished.returncode


if __name__ == "__main__":
    wanted = sys.argv[2:] or list(fuzz_seeds.TARGETS)
    sys.exit(max(abs(run(target, float(sys.argv[1]))) for target in wanted))
