import pytest

from wire.process.unknown_settings import warnings
from wire.settings_parser import Declarations, SettingError


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("REDIS_HOST", "REDIS_IP"),
        ("REDIS_TLS_URL", "REDIS_URL"),
        ("REDIS_DB", "REDIS_DB_ID"),
        ("REDIS_USER", "REDIS_USERNAME"),
        ("REDIS_PASWORD", "REDIS_PASSWORD"),
        ("MODEL_WORKER", "MODEL_WORKERS"),
        ("MODELS_WORKERS", "MODEL_WORKERS"),
        ("redis_ip", "REDIS_IP"),
        ("MODEL-WORKERS", "MODEL_WORKERS"),
        ("MAX_TOPK", "MAX_TOP_K"),
        ("REQUEST_TIMEOUT", "REQUEST_TIMEOUT_S"),
        ("API_KEY_FILE", "API_KEYS_FILE"),
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("BATCH_SIZE", "MAX_BATCH_SIZE"),
    ],
)
def test_a_misspelt_setting_is_named_with_the_one_that_is_meant(name: str, meant: str) -> None:
    assert list(warnings({name: "1"})) == [f"{name} is no setting and is ignored: did you mean {meant}?"]


def test_a_name_with_one_of_our_prefixes_is_named_with_the_closest_setting() -> None:
    [warning] = warnings({"REDIS_SENTINEL": "1"})
    assert warning.startswith("REDIS_SENTINEL is no setting and is ignored; the closest is REDIS_")


ORCHESTRATED = {
    "REDIS_PORT": "tcp://10.0.0.1:6379",
    "REDIS_PORT_6379_TCP": "tcp://10.0.0.1:6379",
    "REDIS_PORT_6379_TCP_ADDR": "10.0.0.1",
    "REDIS_PORT_6379_TCP_PORT": "6379",
    "REDIS_PORT_6379_TCP_PROTO": "tcp",
    "REDIS_SERVICE_HOST": "10.0.0.1",
    "REDIS_SERVICE_PORT": "6379",
    "REDIS_SERVICE_PORT_REDIS": "6379",
    "REDIS_NAME": "/api/redis",
    "REDIS_ENV_REDIS_VERSION": "7.0.15",
    "MODEL_PORT": "tcp://10.0.0.2:9101",
    "MODEL_SERVICE_HOST": "10.0.0.2",
    "MODEL_WORKERS_SERVICE_HOST": "10.0.0.2",
    "METRICS_PORT": "udp://10.0.0.3:9101",
    "METRICS_SERVICE_PORT_HTTP": "9101",
    "UPLOAD_1_PORT_80_TCP": "tcp://10.0.0.4:80",
}


def test_what_an_orchestrator_sets_for_services_of_our_names_is_ignored() -> None:
    assert list(warnings(ORCHESTRATED)) == []
    setting = Declarations(ORCHESTRATED)
    assert setting.redis()[:4] == ("", "", "127.0.0.1", 6379)
    assert setting("METRICS_PORT", 0, "A port.", at_most=65_535) == 0


@pytest.mark.parametrize("value", ["tcp:6379", "http://10.0.0.1", "6379/tcp"])
def test_any_other_value_of_a_port_is_refused(value: str) -> None:
    with pytest.raises(SettingError, match="REDIS_PORT="):
        Declarations({"REDIS_PORT": value}).redis()


def test_the_environment_of_a_usual_machine_is_no_reason_for_a_warning() -> None:
    usual = """
    PATH HOME USER LOGNAME SHELL LANG LC_ALL TERM PWD OLDPWD HOSTNAME HOSTTYPE EDITOR PAGER TMPDIR TZ CI GITHUB_TOKEN
    PYTHONPATH PYTHONUNBUFFERED VIRTUAL_ENV PIP_INDEX_URL SSL_CERT_FILE REQUESTS_CA_BUNDLE HTTP_PROXY NO_PROXY DISPLAY
    XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS SSH_AUTH_SOCK OMP_NUM_THREADS OPENBLAS_NUM_THREADS CUDA_VISIBLE_DEVICES
    NVIDIA_DRIVER_CAPABILITIES KUBERNETES_SERVICE_HOST KUBERNETES_PORT INVOCATION_ID JOURNAL_STREAM NOTIFY_SOCKET
    LISTEN_FDS LISTEN_PID MAKEFLAGS MAKELEVEL MFLAGS SIGHTLINE_URL SIGHTLINE_KEY SUITES FULL TO DO BENCH STRESS
    OTEL_EXPORTER_OTLP_HEADERS OTEL_RESOURCE_ATTRIBUTES OTEL_BSP_SCHEDULE_DELAY GF_SECURITY_ADMIN_USER DEVICE ENGINE
    """
    assert list(warnings(dict.fromkeys(usual.split(), "1"))) == []


@pytest.mark.parametrize("name", ["a b", "x" * 81, "{a}", "a*", "ä", "a/b"])
def test_a_queue_of_an_impossible_name_is_refused_at_once(name: str) -> None:
    with pytest.raises(SettingError, match="is not 1 to 80 letters, digits"):
        Declarations({"REDIS_QUEUE": name}).redis()


@pytest.mark.parametrize("text", [str(2**63), "9" * 400])
def test_a_whole_number_fits_into_what_redis_takes(text: str) -> None:
    with pytest.raises(SettingError, match="NUMBER="):
        Declarations({"NUMBER": text})("NUMBER", 1, "A number.")
