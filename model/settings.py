"""The model workers' settings: environment variables, read once, at import.

Read a setting as `settings.NAME` where it is used, so that a test may patch it.
"""

import os
import sys
from pathlib import Path

from wire.process import limits, unknown_settings
from wire.redis.address import Address, address_of
from wire.settings_parser import Declarations, SettingError

INSTALLED_BUNDLES = Path(__file__).resolve().parent.parent / "var" / "bundles"

_setting = Declarations(os.environ)
SETTINGS = _setting.table

UPLOAD_FOLDER = _setting("UPLOAD_FOLDER", "uploads/", "Folder that the api stores images in.")
(
    IMAGE_STORE,
    S3_ENDPOINT,
    S3_REGION,
    S3_ACCESS_KEY_ID,
    S3_SECRET_ACCESS_KEY,
    S3_SECRET_ACCESS_KEY_FILE,
    S3_TIMEOUT_S,
) = _setting.object_storage()
READY_FD = _setting("READY_FD", 0, "File descriptor that gets a byte once this worker serves; 0: none.")
FEEDBACK_FILEPATH = _setting(
    "FEEDBACK_FILEPATH", "feedback/feedback", "File of reports; feedback.csv is in the same folder."
)
DATABASE_URL, DATABASE_URL_FILE = _setting.database()
(
    REDIS_URL,
    REDIS_URL_FILE,
    REDIS_IP,
    REDIS_PORT,
    REDIS_DB_ID,
    REDIS_SOCKET,
    REDIS_USERNAME,
    REDIS_PASSWORD,
    REDIS_PASSWORD_FILE,
    REDIS_SENTINEL_USERNAME,
    REDIS_SENTINEL_PASSWORD,
    REDIS_SENTINEL_PASSWORD_FILE,
    REDIS_QUEUE,
    MODEL_CLASS,
) = _setting.redis()

CACHE_MAX_ENTRIES = _setting(
    "CACHE_MAX_ENTRIES", 10_000, "Entries of the result cache, as in the api; used by `erase`.", at_least=1
)
BUNDLES_FOLDER = _setting(
    "BUNDLES_FOLDER", "", "Folder of the model bundles; empty: bundles/, else where `make install` put them."
)
MODEL_STORE = _setting.place(
    "MODEL_STORE", "Where all hosts find versions: s3://bucket/prefix; each mirrors it in BUNDLES_FOLDER. Empty: none."
)
COMPILED_CACHE = _setting(
    "COMPILED_CACHE",
    "",
    "Folder of compiled forms, where BUNDLES_FOLDER cannot be written; empty: in the folder of each version.",
)
MODEL_BUNDLE = _setting("MODEL_BUNDLE", "", "Bundle to serve, as <model>/<version>; empty: the active one.")
LABELLED_FOLDER = _setting(
    "LABELLED_FOLDER", "", "Folder of labelled images, on which a version is compared before it is promoted."
)
ORDINARY_IMAGES = _setting(
    "ORDINARY_IMAGES", "", "Folder of usual images without labels; a new version keeps the answers to them."
)
PROMOTE_MAX_ACCURACY_DROP = _setting(
    "PROMOTE_MAX_ACCURACY_DROP",
    0.01,
    "How much lower the top-1 accuracy on labelled images of a promoted version may be, as a share of them.",
    at_most=1,
    former="PROMOTE_MOST_LOSS",
)
PROMOTE_MIN_AGREEMENT = _setting(
    "PROMOTE_MIN_AGREEMENT",
    0.95,
    "Share of unreported images for which a promoted version must have the same top-1 as the active one.",
    at_most=1,
    former="PROMOTE_LEAST_AGREEMENT",
)
PRECISION = _setting(
    "PRECISION",
    "",
    "int8 or fp32: which version of the bundle that set-up made; empty: the active one.",
    choices=("", "int8", "fp32"),
)
ENGINE = _setting(
    "ENGINE",
    "auto",
    "Inference engine: openvino, onnxruntime, torch for GPUs and fp32 bundles, or auto: by the processor's features.",
    choices=("auto", "openvino", "onnxruntime", "torch"),
)
DEVICE = _setting(
    "DEVICE",
    "auto",
    "Device of torch: cuda, cpu, or auto: cuda where there is one, else cpu.",
    choices=("auto", "cpu", "cuda"),
)
if DEVICE == "cuda" and ENGINE != "torch":
    raise SettingError(f"DEVICE={DEVICE!r}, but ENGINE={ENGINE!r} computes on the CPU only: set ENGINE=torch")
GPU_PRECISION = _setting(
    "GPU_PRECISION", "fp32", "Precision of torch on a GPU: fp32, fp16 or bf16.", choices=("fp32", "fp16", "bf16")
)
if ENGINE == "torch":
    ENGINE = f"torch:{DEVICE}:{GPU_PRECISION}"  # the engine's whole name: what is loaded, logged and counted
MODEL_WORKERS = _setting(
    "MODEL_WORKERS",
    1,
    "Model worker processes that share this machine's cores.",
    at_least=1,
    at_most=limits.MAX_PROCESSES,
)
CONSUMERS = _setting(
    "CONSUMERS",
    0,
    "Batches that a worker processes at the same time; 0: one for each core.",
    at_most=limits.MAX_PROCESSES,
    former="LANES",
)
DECODE_THREADS = _setting(
    "DECODE_THREADS",
    0,
    "Threads that decode the images of large batches; 0: each consumer decodes its own.",
    at_most=256,
)
MAX_BATCH_SIZE = _setting("MAX_BATCH_SIZE", 8, "Jobs in one batch at most.", at_least=1, at_most=256)
MAX_BATCH_WAIT_MS = _setting(
    "MAX_BATCH_WAIT_MS", 0, "Milliseconds to wait for a batch to fill; 0: none.", at_most=1_000
)
LEASE_MS = _setting(
    "LEASE_MS",
    1000,
    "Milliseconds after which the jobs of a dead worker are claimed by others.",
    at_least=100,
    at_most=60_000,
)
MAX_BATCH_S = _setting(
    "MAX_BATCH_S",
    10.0,
    "Seconds that a batch may take; a worker that takes longer is restarted.",
    at_least=1,
    at_most=600,
)
DECODE_BUDGET_S = _setting(
    "DECODE_BUDGET_S",
    2.0,
    "CPU seconds that decoding one image may take; an image that takes longer is refused.",
    at_least=0.1,
    at_most=60,
)
FORMATS = _setting.formats()
SUGGEST_EVERY_H = _setting(
    "SUGGEST_EVERY_H",
    0.0,
    "Hours between two searches of an idle trainer for unreported images to review; 0: only when ordered.",
    at_most=8760,
)
NICENESS = _setting("NICENESS", 5, "Priority below that of other processes, as of `nice`.", at_most=19)
COMMAND_NICENESS = _setting(
    "COMMAND_NICENESS", 19, "The same for the commands improve, evaluate, suggest and, up to 10, models.", at_most=19
)
MAX_MEMORY_GROWTH_MB = _setting(
    "MAX_MEMORY_GROWTH_MB", 1024, "Memory growth (MB) after which a worker is restarted; 0: never."
)
MAX_FAILURES = _setting(
    "MAX_FAILURES",
    5,
    "Consecutive internal errors after which a worker that also fails a self-test is restarted; 0: never.",
)
METRICS_PORT = _setting(
    "METRICS_PORT", 0, "TCP port of the worker's /metrics, /livez and /readyz; 0: none.", at_most=65_535
)
METRICS_HOST = _setting("METRICS_HOST", "127.0.0.1", "Address of METRICS_PORT.")
OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME = _setting.traces("sightline-model")
OTEL_METRICS_EXPORTER, OTEL_METRIC_EXPORT_INTERVAL = _setting.pushed_metrics()
FAULT_INJECTION = _setting(
    "FAULT_INJECTION", 0, "For tests only: 1 lets an image's last bytes make its worker fail.", at_most=1
)
LOG_LEVEL, LOG_FORMAT = _setting.logs()


def queue_address() -> Address:
    """Return the address of the Redis that these settings name."""
    return address_of(sys.modules[__name__])


def bundles_folder() -> Path:
    """Return the folder of bundles: as set, else that of the container, else that of a local set-up."""
    own = Path("bundles")
    return Path(BUNDLES_FOLDER) if BUNDLES_FOLDER else own if own.is_dir() else INSTALLED_BUNDLES


def for_orders() -> dict[str, str]:
    """Return the environment of a process that does an order."""
    # More threads of NumPy's spin while the workers have the cores: up to seven times the processor time for one fit.
    return {"OPENBLAS_NUM_THREADS": "1", **os.environ}


def warnings() -> list[str]:
    """Return what the environment has that is probably not meant so, for the log."""
    return list(unknown_settings.warnings(os.environ))
