"""The model workers' settings: environment variables, read once, at import.

Read a setting as `settings.NAME` where it is used, so that a test may patch it.
"""

import os

from wire.redis.connection import Address
from wire.settings import Declarations, SettingError

_setting = Declarations(os.environ)
SETTINGS = _setting.table

UPLOAD_FOLDER = _setting("UPLOAD_FOLDER", "uploads/", "Folder that the api stores pictures in.")
READY_FD = _setting(
    "READY_FD", 0, "File descriptor to write a byte to once the worker serves; 0: none. `make serve` sets it."
)
FEEDBACK_FILEPATH = _setting(
    "FEEDBACK_FILEPATH", "feedback/feedback", "The api's file of reports; those that were reviewed stand beside it."
)
REDIS_IP = _setting("REDIS_IP", "127.0.0.1", "Host name or address of Redis.")
REDIS_PORT = _setting("REDIS_PORT", 6379, "TCP port of Redis.", at_least=1, at_most=65_535)
REDIS_DB_ID = _setting("REDIS_DB_ID", 0, "Number of the Redis database.")
REDIS_SOCKET = _setting("REDIS_SOCKET", "", "Unix socket of Redis; goes before REDIS_IP and REDIS_PORT.")
REDIS_USERNAME = _setting("REDIS_USERNAME", "", "Redis user to enter as.")
REDIS_PASSWORD, REDIS_PASSWORD_FILE = _setting.secret("REDIS_PASSWORD", "Password of that Redis user.")
REDIS_QUEUE = _setting("REDIS_QUEUE", "sightline", "Name of the queue: the prefix of every Redis key.")

BUNDLES_FOLDER = _setting(
    "BUNDLES_FOLDER", "", "Folder of the model bundles; empty: bundles/, else where `make install` put them."
)
MODEL_BUNDLE = _setting("MODEL_BUNDLE", "", "Bundle to serve, as <model>/<version>; empty: the active one.")
LABELLED_FOLDER = _setting(
    "LABELLED_FOLDER", "", "Folder of labelled images, on which a version is compared before it is promoted."
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
    "int8 or fp32: which version of the default bundle; empty: the active one.",
    choices=("", "int8", "fp32"),
)
ENGINE = _setting(
    "ENGINE",
    "openvino",
    "What runs the model: openvino, onnxruntime, or torch, which is for GPUs and takes fp32 bundles.",
    choices=("openvino", "onnxruntime", "torch"),
)
DEVICE = _setting(
    "DEVICE",
    "auto",
    "Where torch computes: cuda, cpu, or auto: cuda where there is one, else cpu.",
    choices=("auto", "cpu", "cuda"),
)
if DEVICE == "cuda" and ENGINE != "torch":
    raise SettingError(f"DEVICE={DEVICE!r}, but ENGINE={ENGINE!r} computes on the processor alone: set ENGINE=torch")
GPU_PRECISION = _setting(
    "GPU_PRECISION", "fp32", "What torch computes in on a GPU: fp32, fp16 or bf16.", choices=("fp32", "fp16", "bf16")
)
if ENGINE == "torch":
    ENGINE = f"torch:{DEVICE}:{GPU_PRECISION}"  # the engine's whole name: what is loaded, logged and counted
MODEL_WORKERS = _setting("MODEL_WORKERS", 1, "Model worker processes that share this machine's cores.", at_least=1)
LANES = _setting("LANES", 0, "Batches that a worker has under way at once; 0: one for each core it has.")
DECODE_THREADS = _setting(
    "DECODE_THREADS",
    0,
    "Threads that decode the pictures of a batch at once, for large batches; 0: each lane decodes its own.",
    at_most=256,
)
MAX_BATCH_SIZE = _setting("MAX_BATCH_SIZE", 8, "Most jobs that a lane takes at once.", at_least=1, at_most=256)
MAX_BATCH_WAIT_MS = _setting(
    "MAX_BATCH_WAIT_MS", 0, "Milliseconds to wait for a batch to fill; 0: take what is there.", at_most=10_000
)
LEASE_MS = _setting("LEASE_MS", 1000, "Milliseconds after which a dead worker's jobs are taken over.", at_least=100)
MAX_BATCH_S = _setting(
    "MAX_BATCH_S", 10.0, "Seconds that a batch may take; a worker that hangs longer ends and is restarted.", at_least=1
)
DECODE_BUDGET_S = _setting(
    "DECODE_BUDGET_S",
    2.0,
    "Processor seconds that decoding one image may take; what is estimated to take longer, or does, is refused.",
    at_least=0.1,
    at_most=60,
)
NICENESS = _setting(
    "NICENESS", 5, "How far a worker stands back behind the api and others on a busy machine, as of `nice`.", at_most=19
)
MAX_MEMORY_GROWTH_MB = _setting(
    "MAX_MEMORY_GROWTH_MB", 1024, "Growth at which a worker makes way for a fresh one; 0: never."
)
MAX_FAILURES = _setting(
    "MAX_FAILURES", 5, "Jobs in a row that fail for no fault of theirs before a fresh worker takes over; 0: never."
)
METRICS_PORT = _setting(
    "METRICS_PORT", 0, "TCP port at which the worker tells its metrics; 0: nowhere.", at_most=65_535
)
METRICS_HOST = _setting("METRICS_HOST", "127.0.0.1", "Address that METRICS_PORT belongs to.")
# OpenTelemetry's own names. Its SDK reads further ones by itself, where traces are on.
OTEL_TRACES_EXPORTER = _setting(
    "OTEL_TRACES_EXPORTER",
    "none",
    "Where traces go: none, otlp (a collector), or console (standard output).",
    choices=("none", "otlp", "console"),
)
OTEL_EXPORTER_OTLP_ENDPOINT = _setting(
    "OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318", "Base address of the collector, for OTLP over HTTP."
)
OTEL_SERVICE_NAME = _setting("OTEL_SERVICE_NAME", "sightline-model", "Name of this part of the service in traces.")
FAULT_INJECTION = _setting(
    "FAULT_INJECTION", 0, "For tests only: 1 lets a picture's last bytes order its worker to fail.", at_most=1
)
LOG_LEVEL = _setting(
    "LOG_LEVEL",
    "info",
    "How much is logged: debug, info, warning or error.",
    choices=("debug", "info", "warning", "error"),
)
LOG_FORMAT = _setting(
    "LOG_FORMAT",
    "auto",
    "json, text, or auto: text on a terminal and JSON elsewhere.",
    choices=("auto", "json", "text"),
)


def queue_address() -> Address:
    """Return the address of the Redis that these settings name."""
    return Address(REDIS_IP, REDIS_PORT, REDIS_DB_ID, REDIS_SOCKET, REDIS_USERNAME, REDIS_PASSWORD)
