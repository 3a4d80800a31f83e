"""The api's settings: environment variables, read once, at import.

Read a setting as `settings.NAME` where it is used, so that a test may patch it.
"""

import os
import secrets

from wire.settings import Declarations

_setting = Declarations(os.environ)
SETTINGS = _setting.table

HOST = _setting("HOST", "0.0.0.0", "Address to listen on; 127.0.0.1 for this machine only.")  # noqa: S104  the contract's default, for containers
PORT = _setting("PORT", 5000, "TCP port to listen on.", at_least=1, at_most=65535)
LISTEN_FD = _setting(
    "LISTEN_FD", 0, "File descriptor of a socket that listens already, instead of HOST and PORT; 0: none."
)
READY_FD = _setting(
    "READY_FD",
    0,
    "File descriptor to write a byte to once this process serves; 0: none. `make serve` sets it.",
)
API_WORKERS = _setting("API_WORKERS", 1, "Number of api processes that share the port.", at_least=1)
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
ACCESS_LOG = _setting("ACCESS_LOG", False, "Log a line for each request.")
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
OTEL_SERVICE_NAME = _setting("OTEL_SERVICE_NAME", "sightline-api", "Name of this part of the service in traces.")
_SAMPLERS = ("always_on", "always_off", "traceidratio")
OTEL_TRACES_SAMPLER = _setting(
    "OTEL_TRACES_SAMPLER",
    "parentbased_always_on",
    "Which requests are traced: always_on, always_off or traceidratio; after parentbased_ only where the caller left it"
    " open.",
    choices=(*_SAMPLERS, *(f"parentbased_{sampler}" for sampler in _SAMPLERS)),
)
OTEL_TRACES_SAMPLER_ARG = _setting(
    "OTEL_TRACES_SAMPLER_ARG", 1.0, "Share of the requests that traceidratio traces.", at_most=1
)

UPLOAD_FOLDER = _setting(
    "UPLOAD_FOLDER", "static/uploads/", "Folder that pictures are stored in, shared with the model."
)
FEEDBACK_FILEPATH = _setting(
    "FEEDBACK_FILEPATH", "feedback/feedback", "File of the reports as sent; feedback.csv stands beside it."
)
MIN_FREE_BYTES = _setting("MIN_FREE_BYTES", 64 * 1024**2, "Disk space that uploads and reports leave free.")
MAX_REPORTS_BYTES = _setting(
    "MAX_REPORTS_BYTES", 1024**3, "Size of the files of reports from which on further ones are refused.", at_least=1
)

REDIS_IP = _setting("REDIS_IP", "127.0.0.1", "Host name or address of Redis.")
REDIS_PORT = _setting("REDIS_PORT", 6379, "TCP port of Redis.", at_least=1, at_most=65535)
REDIS_DB_ID = _setting("REDIS_DB_ID", 0, "Number of the Redis database.")
REDIS_SOCKET = _setting("REDIS_SOCKET", "", "Unix socket of Redis; goes before REDIS_IP and REDIS_PORT.")
REDIS_USERNAME = _setting("REDIS_USERNAME", "", "Redis user to enter as.")
REDIS_PASSWORD, REDIS_PASSWORD_FILE = _setting.secret("REDIS_PASSWORD", "Password of that Redis user.")
REDIS_QUEUE = _setting("REDIS_QUEUE", "sightline", "Name of the queue: the prefix of every Redis key.")

REQUEST_TIMEOUT_S = _setting("REQUEST_TIMEOUT_S", 5.0, "Seconds to wait for the model's answer.", at_least=0.001)
MAX_QUEUE_SIZE = _setting("MAX_QUEUE_SIZE", 0, "Waiting jobs above which requests are refused; 0 computes it.")
JOB_TIMEOUT_S = _setting(
    "JOB_TIMEOUT_S", 60.0, "Seconds in which a job that nobody waits for has to be done.", at_least=0.001, at_most=600
)
MAX_JOBS = _setting("MAX_JOBS", 10_000, "Most jobs that nobody waits for, and their answers, kept.", at_least=1)
MAX_UPLOAD_BYTES = _setting("MAX_UPLOAD_BYTES", 20 * 1024**2, "Largest picture, in bytes.", at_least=1)
MAX_UPLOADS_BYTES = _setting(
    "MAX_UPLOADS_BYTES",
    192 * 1024**2,
    "Memory for request bodies until they are stored, for each api process; one body may take 4/5.",
    at_least=1,
)
MAX_TOP_K = _setting("MAX_TOP_K", 1000, "Most classes that one answer may list.", at_least=1)

RESULT_CACHE = _setting(
    "RESULT_CACHE", True, "Answer the same picture again without asking a worker; 0: each request is a job."
)
CACHE_TTL_S = _setting("CACHE_TTL_S", 3600, "Seconds that an answer is kept in the result cache.", at_least=1)
CACHE_MAX_ENTRIES = _setting(
    "CACHE_MAX_ENTRIES", 10_000, "Most answers in the result cache, of at most 2 KiB each.", at_least=1
)

MAX_CONNECTIONS = _setting("MAX_CONNECTIONS", 4096, "Connections that one api process holds open.", at_least=1)
IDLE_TIMEOUT_S = _setting(
    "IDLE_TIMEOUT_S", 15.0, "Seconds that a connection may wait between requests.", at_least=0.001
)
HEAD_TIMEOUT_S = _setting("HEAD_TIMEOUT_S", 10.0, "Seconds in which a request's headers must be there.", at_least=0.001)
UPLOAD_TIMEOUT_S = _setting(
    "UPLOAD_TIMEOUT_S", 120.0, "Seconds in which a request's body must be there.", at_least=0.001
)
UPLOAD_PACE_S = _setting(
    "UPLOAD_PACE_S", 10.0, "Seconds in which each further 64 KiB of a body must come.", at_least=0.001
)
SEND_TIMEOUT_S = _setting(
    "SEND_TIMEOUT_S", 30.0, "Seconds in which a client must take a piece of an answer.", at_least=0.001
)

TRUSTED_PROXIES = _setting("TRUSTED_PROXIES", 0, "Number of reverse proxies whose X-Forwarded headers count.")
CORS_ORIGINS = _setting("CORS_ORIGINS", "", "Origins of other sites whose pages may call this service, by commas.")
TRUSTED_HOSTS = _setting("TRUSTED_HOSTS", "", "Host names under which the service may be asked, by commas; empty: any.")
API_KEYS_FILE = _setting(
    "API_KEYS_FILE", "", "File of the API keys, one of which each request must bring; empty: none."
)
RATE_LIMIT = _setting(
    "RATE_LIMIT", "", "How much each key or address may ask, such as 60/minute; empty: as much as there is room for."
)
OPERATOR_KEY, OPERATOR_KEY_FILE = _setting.secret(
    "OPERATOR_KEY", "Key to what is for the operator alone; empty: that is closed to everybody."
)
SECRET_KEY, SECRET_KEY_FILE = _setting.secret(
    "SECRET_KEY", "Key that signs the page's cookie; several api processes need the same."
)
# Without one, a random one for this process and its children.
SECRET_KEY = SECRET_KEY or secrets.token_hex(32)
KEEP_UPLOADS_DAYS = _setting(
    "KEEP_UPLOADS_DAYS", 30.0, "Days after its last use that clean-up removes a picture nobody reported.", at_least=1
)
KEEP_UPLOADS_BYTES = _setting(
    "KEEP_UPLOADS_BYTES", 10 * 1024**3, "Bytes of pictures that clean-up leaves, the latest ones."
)


# prometheus_client reads the folder of its files from the environment, and nowhere else.
_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics(folder: str) -> None:
    """Have this process and its children keep their metrics in the files of a folder."""
    os.environ[_METRICS_FOLDER] = folder


def metrics_folder() -> str:
    """Return the folder of the metrics of all processes; empty where this process has its own."""
    return os.environ.get(_METRICS_FOLDER, "")
