"""The api's settings: environment variables, read once, at import.

Read a setting as `settings.NAME` where it is used, so that a test may patch it.
"""

import os
import secrets

from wire.process import limits, unknown_settings
from wire.settings_parser import Declarations

_setting = Declarations(os.environ)
SETTINGS = _setting.table

HOST = _setting("HOST", "0.0.0.0", "Address to listen on; 127.0.0.1 for this machine only.")  # noqa: S104  the contract's default, for containers
PORT = _setting("PORT", 5000, "TCP port to listen on.", at_least=1, at_most=65535)
LISTEN_FD = _setting("LISTEN_FD", 0, "File descriptor of a listening socket, in place of HOST and PORT; 0: none.")
READY_FD = _setting("READY_FD", 0, "File descriptor that gets a byte once this process serves; 0: none.")
API_WORKERS = _setting(
    "API_WORKERS", 1, "Number of api processes that share the port.", at_least=1, at_most=limits.MAX_PROCESSES
)
LOG_LEVEL, LOG_FORMAT = _setting.logs()
ACCESS_LOG = _setting("ACCESS_LOG", False, "Log a line for each request.")
OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME = _setting.traces("sightline-api")
OTEL_METRICS_EXPORTER, OTEL_METRIC_EXPORT_INTERVAL = _setting.pushed_metrics()
_SAMPLERS = ("always_on", "always_off", "traceidratio")
OTEL_TRACES_SAMPLER = _setting(
    "OTEL_TRACES_SAMPLER",
    "parentbased_always_on",
    "Which requests are traced: always_on, always_off or traceidratio; with parentbased_ unless the caller decides.",
    choices=(*_SAMPLERS, *(f"parentbased_{sampler}" for sampler in _SAMPLERS)),
)
OTEL_TRACES_SAMPLER_ARG = _setting(
    "OTEL_TRACES_SAMPLER_ARG", 1.0, "Share of the requests that traceidratio traces.", at_most=1
)

UPLOAD_FOLDER = _setting("UPLOAD_FOLDER", "static/uploads/", "Folder of the images, shared with the model workers.")
(
    IMAGE_STORE,
    S3_ENDPOINT,
    S3_REGION,
    S3_ACCESS_KEY_ID,
    S3_SECRET_ACCESS_KEY,
    S3_SECRET_ACCESS_KEY_FILE,
    S3_TIMEOUT_S,
) = _setting.object_storage()
FEEDBACK_FILEPATH = _setting(
    "FEEDBACK_FILEPATH", "feedback/feedback", "File of reports; feedback.csv is in the same folder."
)
DOCUMENTATION_FOLDER = _setting(
    "DOCUMENTATION_FOLDER", "documentation/", "Folder of the built documentation site, served below /help."
)
MIN_FREE_BYTES = _setting("MIN_FREE_BYTES", 64 * 1024**2, "Disk space that uploads and reports leave free.")
MAX_REPORTS_BYTES = _setting(
    "MAX_REPORTS_BYTES", 1024**3, "Largest size of the files of reports, in bytes.", at_least=1
)

DATABASE_URL, DATABASE_URL_FILE = _setting.database()
DATABASE_CONNECTIONS = _setting(
    "DATABASE_CONNECTIONS", 4, "Connections to DATABASE_URL of each api process.", at_least=1, at_most=1000
)
DATABASE_TIMEOUT_S = _setting(
    "DATABASE_TIMEOUT_S", 2.0, "Seconds to wait for DATABASE_URL before a 503.", at_least=0.1, at_most=60
)

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

REQUEST_TIMEOUT_S = _setting(
    "REQUEST_TIMEOUT_S",
    5.0,
    "Seconds to wait for the model's answer.",
    at_least=0.001,
    at_most=limits.MAX_TTL_MS // 1000,
)
MAX_QUEUE_SIZE = _setting("MAX_QUEUE_SIZE", 0, "Waiting jobs above which requests are refused; 0 computes it.")
JOB_TIMEOUT_S = _setting("JOB_TIMEOUT_S", 60.0, "Seconds that an async job may take.", at_least=0.001, at_most=600)
MAX_JOBS = _setting("MAX_JOBS", 10_000, "Async jobs that are kept at most, with their answers.", at_least=1)
JOBS_WAIT_REPLICAS = _setting(
    "JOBS_WAIT_REPLICAS", 0, "Replicas of Redis that must have an async job before it is accepted.", at_most=100
)
ADMIT_WITHOUT_WORKERS = _setting(
    "ADMIT_WITHOUT_WORKERS", False, "Accept async jobs while no worker is alive: an autoscaler starts some for them."
)
MAX_UPLOAD_BYTES = _setting(
    "MAX_UPLOAD_BYTES",
    limits.MAX_IMAGE_BYTES,
    "Size of the largest image, in bytes.",
    at_least=1,
    at_most=limits.MAX_IMAGE_BYTES,
)
FORMATS = _setting.formats()
MAX_UPLOADS_BYTES = _setting(
    "MAX_UPLOADS_BYTES",
    192 * 1024**2,
    "Memory for request bodies until they are stored, in bytes for each api process; one body may take 4/5.",
    at_least=1,
)
MAX_TOP_K = _setting(
    "MAX_TOP_K", 1000, "Classes that one answer may list at most.", at_least=1, at_most=limits.MAX_TOP_K
)

RESULT_CACHE = _setting("RESULT_CACHE", True, "Answer the same image again from a cache; 0: each request is a job.")
CACHE_TTL_S = _setting(
    "CACHE_TTL_S", 3600, "Seconds that an answer is kept in the result cache.", at_least=1, at_most=31_536_000
)
CACHE_MAX_ENTRIES = _setting("CACHE_MAX_ENTRIES", 10_000, "Answers in the cache, of at most 2 KiB each.", at_least=1)

MAX_CONNECTIONS = _setting(
    "MAX_CONNECTIONS", 4096, "Connections that one api process holds open.", at_least=1, at_most=1_000_000
)
IDLE_TIMEOUT_S = _setting(
    "IDLE_TIMEOUT_S", 15.0, "Seconds that a connection may be idle.", at_least=0.001, at_most=86_400
)
HEAD_TIMEOUT_S = _setting(
    "HEAD_TIMEOUT_S", 10.0, "Seconds for a request's headers to arrive.", at_least=0.001, at_most=86_400
)
UPLOAD_TIMEOUT_S = _setting(
    "UPLOAD_TIMEOUT_S", 120.0, "Seconds for a request's body to arrive.", at_least=0.001, at_most=86_400
)
UPLOAD_PACE_S = _setting(
    "UPLOAD_PACE_S", 10.0, "Seconds for each further 64 KiB of a body.", at_least=0.001, at_most=86_400
)
SEND_TIMEOUT_S = _setting(
    "SEND_TIMEOUT_S", 30.0, "Seconds for a client to take a piece of a response.", at_least=0.001, at_most=86_400
)

TRUSTED_PROXIES = _setting(
    "TRUSTED_PROXIES", 0, "Number of reverse proxies whose X-Forwarded headers are trusted.", at_most=100
)
SCRIPT_NAME = _setting.script_name()
CORS_ORIGINS = _setting(
    "CORS_ORIGINS", "", "Origins whose pages may call this service: https://a.example, https://*.example, or *."
)
TRUSTED_HOSTS = _setting("TRUSTED_HOSTS", "", "Host names of the service, .example with all below it; empty: any.")
API_KEYS_FILE = _setting("API_KEYS_FILE", "", "File of the API keys, one of which each request needs; empty: none.")
RATE_LIMIT = _setting("RATE_LIMIT", "", "Rate limit of each key or address, such as 60/minute; empty: none.")
OPERATOR_KEY, OPERATOR_KEY_FILE = _setting.secret("OPERATOR_KEY", "Key to the operator's routes; empty: closed.")
SECRET_KEY, SECRET_KEY_FILE = _setting.secret("SECRET_KEY", "Key that signs cookies, the same in all api processes.")
# Without one, a random one for this process and its children.
SECRET_KEY = SECRET_KEY or secrets.token_hex(32)
KEEP_UPLOADS_DAYS = _setting(
    "KEEP_UPLOADS_DAYS", 30.0, "Days after its last use that an unreported image is kept.", at_least=1
)
KEEP_UPLOADS_BYTES = _setting("KEEP_UPLOADS_BYTES", 10 * 1024**3, "Bytes of images that clean-up keeps, latest first.")


# prometheus_client reads the folder of its files from the environment, and nowhere else.
_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics(folder: str) -> None:
    """Have this process and its children keep their metrics in the files of a folder."""
    os.environ[_METRICS_FOLDER] = folder


def hide_script_name() -> None:
    """Remove SCRIPT_NAME from the environment, in which gunicorn refuses every path that does not begin with it."""
    os.environ.pop("SCRIPT_NAME", None)


def metrics_folder() -> str:
    """Return the folder of the metrics of all processes; empty where this process has its own."""
    return os.environ.get(_METRICS_FOLDER, "")


def warnings() -> list[str]:
    """Return what the environment has that is probably not meant so, for the log."""
    found = list(unknown_settings.warnings(os.environ))
    if 2 * MAX_UPLOAD_BYTES > MAX_UPLOADS_BYTES:
        found.append(
            f"MAX_UPLOADS_BYTES={MAX_UPLOADS_BYTES} is less than twice MAX_UPLOAD_BYTES={MAX_UPLOAD_BYTES}: "
            "the largest images are refused as uploads_full. Raise it, or lower MAX_UPLOAD_BYTES."
        )
    return found
