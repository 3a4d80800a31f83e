"""Variables of the environment that are no setting and look like one: misspelt, or of another program's name."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

# Every setting of the api, the workers and the launcher, former names too: each process gets those of the others.
_NAMES = """
ACCESS_LOG ADMIT_WITHOUT_WORKERS API_KEYS_FILE API_WORKERS BUNDLES_FOLDER CACHE_MAX_ENTRIES CACHE_TTL_S
COMMAND_NICENESS COMPILED_CACHE CONSUMERS CORS_ORIGINS DATABASE_CONNECTIONS DATABASE_TIMEOUT_S DATABASE_URL
DATABASE_URL_FILE DECODE_BUDGET_S DECODE_THREADS DEVICE DOCUMENTATION_FOLDER ENGINE FAULT_INJECTION FEEDBACK_FILEPATH
FORMATS GPU_PRECISION HEAD_TIMEOUT_S HOST IDLE_TIMEOUT_S IMAGE_STORE JOBS_WAIT_REPLICAS JOB_TIMEOUT_S
KEEP_UPLOADS_BYTES KEEP_UPLOADS_DAYS LABELLED_FOLDER LANES LEASE_MS LISTEN_FD LOG_FORMAT LOG_LEVEL MAX_BATCH_S
MAX_BATCH_SIZE MAX_BATCH_WAIT_MS MAX_CONNECTIONS MAX_FAILURES MAX_JOBS MAX_MEMORY_GROWTH_MB MAX_QUEUE_SIZE
MAX_REPORTS_BYTES MAX_TOP_K MAX_UPLOADS_BYTES MAX_UPLOAD_BYTES METRICS_HOST METRICS_PORT MIN_FREE_BYTES MODEL
MODEL_BUNDLE MODEL_CLASS MODEL_STORE MODEL_WORKERS NICENESS OPERATOR_KEY OPERATOR_KEY_FILE ORDINARY_IMAGES
OTEL_EXPORTER_OTLP_ENDPOINT OTEL_SERVICE_NAME OTEL_METRICS_EXPORTER OTEL_METRIC_EXPORT_INTERVAL OTEL_TRACES_EXPORTER
OTEL_TRACES_SAMPLER OTEL_TRACES_SAMPLER_ARG PORT PRECISION PROMOTE_LEAST_AGREEMENT PROMOTE_MAX_ACCURACY_DROP
PROMOTE_MIN_AGREEMENT PROMOTE_MOST_LOSS RATE_LIMIT READY_FD REDIS_DB_ID REDIS_IP REDIS_PASSWORD REDIS_PASSWORD_FILE
REDIS_PORT REDIS_QUEUE REDIS_SENTINEL_PASSWORD REDIS_SENTINEL_PASSWORD_FILE REDIS_SENTINEL_USERNAME REDIS_SOCKET
REDIS_URL REDIS_URL_FILE REDIS_USERNAME REQUEST_TIMEOUT_S RESULT_CACHE S3_ACCESS_KEY_ID S3_ENDPOINT S3_REGION
S3_SECRET_ACCESS_KEY S3_SECRET_ACCESS_KEY_FILE S3_TIMEOUT_S SCRIPT_NAME SECRET_KEY SECRET_KEY_FILE SEND_TIMEOUT_S
STATE_DIR SUGGEST_EVERY_H TRAINER TRUSTED_HOSTS TRUSTED_PROXIES UPLOAD_FOLDER UPLOAD_PACE_S UPLOAD_TIMEOUT_S
"""
NAMES = frozenset(_NAMES.split())
# Other programs' names for the same thing.
_ELSEWHERE = {
    "REDIS_HOST": "REDIS_IP",
    "REDIS_HOSTNAME": "REDIS_IP",
    "REDIS_ADDR": "REDIS_IP and REDIS_PORT",
    "REDIS_TLS_URL": "REDIS_URL",
    "REDIS_SENTINELS": "REDIS_URL",
    "REDIS_DB": "REDIS_DB_ID",
    "REDIS_USER": "REDIS_USERNAME",
    "REDIS_PASS": "REDIS_PASSWORD",
    "REDIS_AUTH": "REDIS_PASSWORD",
    "REDIS_UNIX_SOCKET": "REDIS_SOCKET",
    "WORKERS": "MODEL_WORKERS",
    "BATCH_SIZE": "MAX_BATCH_SIZE",
    "S3_ENDPOINT_URL": "S3_ENDPOINT",
    "AWS_ENDPOINT_URL_S3": "S3_ENDPOINT",
}
_PREFIXES = (
    "BUNDLES_", "CACHE_", "CORS_", "DECODE_", "FEEDBACK_", "KEEP_UPLOADS", "MAX_BATCH", "MAX_UPLOAD", "METRICS_",
    "MODEL_", "OPERATOR_", "PROMOTE_", "RATE_LIMIT", "REDIS_", "S3_", "TRUSTED_", "UPLOAD_",
)  # fmt: skip
_SIMILARITY = 0.85
_OF_SYSTEMD = {"LISTEN_FDS"}
# What Kubernetes and Docker's links put into the environment for a service of any name, such as redis or model.
_INJECTED_NAME = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?|ENV_\w+)"
)
# A setting whose values look like those of Docker's links to a service named script.
_SET_BY_PEOPLE = "SCRIPT_NAME"
_INJECTED_VALUE = re.compile(r"(tcp|udp|sctp)://.*|/[\w.-]+/[\w.-]+")


def is_injected(name: str, value: str) -> bool:
    """Return whether an orchestrator has set this variable for a service, such as REDIS_PORT=tcp://10.0.0.1:6379."""
    if name == _SET_BY_PEOPLE:
        return False
    is_place = name.endswith(("_PORT", "_NAME")) and _INJECTED_VALUE.fullmatch(value)
    return bool(is_place or _INJECTED_NAME.fullmatch(name))


def warnings(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each variable that resembles a setting and is none."""
    for name in sorted(environment.keys() - NAMES - _OF_SYSTEMD):
        if is_injected(name, environment[name]):
            continue
        [*near] = get_close_matches(name.upper().replace("-", "_"), NAMES, 1, _SIMILARITY)
        meant = _ELSEWHERE.get(name.upper()) or "".join(near)
        if meant:
            yield f"{name} is no setting and is ignored: did you mean {meant}?"
        elif name.startswith(_PREFIXES):
            [closest] = get_close_matches(name, NAMES, 1, 0)
            yield f"{name} is no setting and is ignored; the closest is {closest}"
