"""The Helm chart: rendered without a cluster, and checked against the schemas of Kubernetes and of custom resources."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks.own.autoscaling import CHART as CHART_SCALING
from benchmarks.own.autoscaling import CHART_BY_CPU, CHART_BY_CPU_ALONE
from helm_python import Chart, HelmError
from helm_python.chart import lint
from jsonschema import Draft202012Validator
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

from sightline_testing.service import REPOSITORY

CHART = REPOSITORY / "deploy" / "helm" / "sightline"
EXAMPLES = sorted(CHART.glob("examples/*.yaml"))
CUSTOM = {file.stem: json.loads(file.read_text()) for file in Path(__file__).parent.glob("schemas/*.json")}
# The oldest and the newest release that the schemas and the chart's kubeVersion name, and one between them.
VERSIONS = ("1.29.0", "1.33.0", "1.37.0")
RELEASE, NAMESPACE = "release", "somewhere"
# What no installation can do without.
MINIMAL: dict[str, Any] = {
    "secretKey": {"existingSecret": "sightline"},
    "redis": {"addresses": ["redis.example.org:6379"]},
    "images": {"s3": "s3://bucket/images"},
    "database": {"existingSecret": "postgres"},
}

Object = dict[str, Any]


@cache
def loaded() -> Chart:
    """Return the chart."""
    return Chart.load(CHART)


def values_of(example: Path) -> dict[str, Any]:
    """Return an example's values."""
    values: dict[str, Any] = yaml.safe_load(example.read_text())
    return values


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return values with others merged into them, as Helm merges files of values."""
    return {
        **values,
        **{
            name: merged(values[name], change)
            if isinstance(change, dict) and isinstance(values.get(name), dict)
            else change
            for name, change in changes.items()
        },
    }


def objects_of(values: dict[str, Any]) -> list[Object]:
    """Return the objects that the chart makes of values; raise HelmError."""
    rendered = loaded().render(values, name=RELEASE, namespace=NAMESPACE)
    manifests = [text for path, text in sorted(rendered.items()) if not path.endswith("NOTES.txt")]
    return [each for text in manifests for each in yaml.safe_load_all(text) if each]


def refusal_of(changes: dict[str, Any]) -> str:
    """Return why values are refused; empty where they are not."""
    try:
        objects_of(merged(MINIMAL, changes))
    except HelmError as error:
        return str(error)
    return ""


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Return the objects of some kinds."""
    return [each for each in objects if each["kind"] in kinds]


def named(objects: list[Object], kind: str, name: str) -> Object:
    """Return one object."""
    [found] = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == name]
    return found


def pod_specs(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield the specification of each kind of pod."""
    for each in of_kind(objects, "CronJob"):
        yield each["metadata"]["name"], each["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    for each in of_kind(objects, "Deployment", "Job"):
        yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def container_of(objects: list[Object], name: str) -> Object:
    """Return the only container of a Deployment or Job."""
    [container] = dict(pod_specs(objects))[name]["containers"]
    return dict(container)


def environment_of(objects: list[Object], name: str) -> dict[str, Any]:
    """Return what a pod's container has in its environment."""
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container_of(objects, name)["env"]}


def faults_of(each: Object, version: str) -> list[str]:
    """Return what a release of Kubernetes, or a custom resource's own schema, would refuse in an object."""
    return [
        f"{each['kind']} {'.'.join(map(str, fault.path))}: {fault.message}"
        for fault in _validator(each["kind"], each["apiVersion"], version).iter_errors(each)
    ]


@cache
def _validator(kind: str, api_version: str, version: str) -> Draft202012Validator:
    if kind in CUSTOM:
        return Draft202012Validator(CUSTOM[kind])
    group, _, name = api_version.rpartition("/")
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    file = "-".join(filter(None, (kind.lower(), group.partition(".")[0], name)))
    return Draft202012Validator(schema_contents(f"{folder}/{file}.json", version), registry=_registry(version))


@cache
def _registry(version: str) -> Registry[Any]:
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    definitions = Resource.from_contents(schema_contents(f"{folder}/_definitions.json", version))
    return definitions @ Registry()


@pytest.fixture(scope="module", params=EXAMPLES, ids=[example.stem for example in EXAMPLES])
def example(request: pytest.FixtureRequest) -> list[Object]:
    """Give the objects of one of the chart's examples."""
    return objects_of(values_of(request.param))


EVERYTHING = merged(
    MINIMAL,
    {
        "operatorKey": {"existingSecret": "sightline"},
        "apiKeys": {"existingSecret": "keys"},
        "redis": {
            "tls": {"enabled": True, "existingSecret": "redis-ca", "certKey": "tls.crt", "keyKey": "tls.key"},
            "auth": {"existingSecret": "redis", "usernameKey": "username"},
        },
        "models": {"s3": "s3://bucket/models"},
        "trainer": {"enabled": True, "modelClass": "gpu"},
        "image": {"registry": "registry.example.org", "pullSecrets": ["pull"]},
        "extraEnv": [{"name": "OTEL_TRACES_EXPORTER", "value": "otlp"}],
        "extraEnvFrom": [{"configMapRef": {"name": "shared"}}],
        "api": {
            "modelClasses": ["", "gpu"],
            "scriptNames": {"gpu": "/gpu"},
            "extraVolumes": [{"name": "extra", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
            "serviceAccountName": "api",
            "podAnnotations": {"example.org/a": "b"},
            "podLabels": {"example.org/team": "a"},
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "high",
            "hpa": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}},
        },
        "workerPools": [
            {"name": "cpu", "autoscaling": {"kind": "hpa"}},
            {
                "name": "gpu",
                "modelClass": "gpu",
                "runtimeClassName": "nvidia",
                "resources": {"limits": {"nvidia.com/gpu": 1}},
                "autoscaling": {
                    "kind": "keda",
                    "prometheus": {
                        "serverAddress": "https://prometheus.example.org",
                        "authenticationRef": {"name": "prometheus"},
                    },
                },
                "topologySpreadConstraints": [
                    {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
                ],
            },
        ],
        "ingress": {
            "enabled": True,
            "hosts": [{"host": "a.example.org"}, {"host": "b.example.org", "path": "/", "modelClass": "gpu"}],
        },
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "gateway"}],
            "rules": [{"path": "/"}, {"path": "/gpu", "modelClass": "gpu"}],
        },
        "networkPolicy": {
            "apiFrom": [{"namespaceSelector": {}}],
            "redisPeers": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
            "extraEgress": [{"ports": [{"protocol": "TCP", "port": 4318}]}],
        },
        "monitoring": {
            "serviceMonitor": {
                "enabled": True,
                "authorization": {"credentials": {"name": "keys", "key": "prometheus"}},
            },
            "prometheusRule": {"enabled": True},
        },
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-own"}},
            "apiVersion: v1\nkind: Secret\nmetadata: {name: own}\n",
        ],
    },
)


@pytest.fixture(scope="module")
def everything() -> list[Object]:
    """Give the objects of an installation that uses all there is."""
    return objects_of(EVERYTHING)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_one_that_kubernetes_knows(example: list[Object], version: str) -> None:
    assert [fault for each in example for fault in faults_of(each, version)] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_of_an_installation_with_everything_is_one_that_kubernetes_knows(
    everything: list[Object], version: str
) -> None:
    assert [fault for each in everything for fault in faults_of(each, version)] == []
    assert {each["kind"] for each in everything} >= {
        *CUSTOM,
        *("Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "Job", "Ingress"),
    }


def test_the_check_finds_what_kubernetes_would_refuse(everything: list[Object]) -> None:
    """The twin of the tests above: fields that are misspelt, in objects of Kubernetes and in custom ones."""
    for kind, field in (
        ("Deployment", "replica"),
        ("ScaledObject", "pollingIntervall"),
        ("ServiceMonitor", "endpoint"),
    ):
        broken = of_kind(everything, kind)[0]
        broken = {**broken, "spec": {**broken["spec"], field: 1}}
        [fault] = faults_of(broken, VERSIONS[-1])
        assert field in fault


@pytest.mark.parametrize("values", [MINIMAL, EVERYTHING, *map(values_of, EXAMPLES)])
def test_helm_has_nothing_to_object(values: dict[str, Any]) -> None:
    report = lint(CHART, values, strict=True)
    assert report["errors"] == []
    assert [each for each in report["messages"] if each["severity"] > 1] == []


def test_a_name_is_given_once_in_each_list_of_variables_mounts_and_volumes(everything: list[Object]) -> None:
    check_names(everything)


def check_names(objects: list[Object]) -> None:
    for name, spec in pod_specs(objects):
        [container] = spec["containers"]
        for entries in (container["env"], container["volumeMounts"], spec["volumes"]):
            names = [each["name"] for each in entries]
            assert sorted(set(names)) == sorted(names), name
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in spec["volumes"]}, name


def test_images_in_a_claim_are_cleaned_up_and_those_in_a_bucket_are_not() -> None:
    assert of_kind(objects_of(MINIMAL), "CronJob") == []
    claims = {"images": {"s3": "", "existingClaim": "claim"}, "reports": {"existingClaim": "reports"}}
    objects = objects_of(merged(EVERYTHING, claims))
    assert [fault for each in objects for fault in faults_of(each, VERSIONS[0])] == []
    check_names(objects)
    [job] = of_kind(objects, "CronJob")
    # What is reported is kept: it needs the reports.
    assert "DATABASE_URL" in environment_of(objects, job["metadata"]["name"])
    volumes = {each["name"]: each for each in dict(pod_specs(objects))[job["metadata"]["name"]]["volumes"]}
    assert volumes["uploads"]["persistentVolumeClaim"] == {"claimName": "claim"}
    assert volumes["feedback"]["persistentVolumeClaim"] == {"claimName": "reports"}
    [policy] = [each for each in of_kind(objects, "NetworkPolicy") if each["metadata"]["name"].endswith("clean-up")]
    assert {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]} == {53, 5432, 4318}


def test_no_pod_gets_variables_of_services_or_more_rights_than_it_needs(everything: list[Object]) -> None:
    for name, spec in pod_specs(everything):
        assert spec["enableServiceLinks"] is False, name
        assert spec["automountServiceAccountToken"] is ("serviceAccountName" in spec), name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        security = spec["containers"][0]["securityContext"]
        assert security["readOnlyRootFilesystem"] is True, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name


def test_roll_outs_replace_one_pod_at_a_time_and_take_none_away_first(everything: list[Object]) -> None:
    for each in of_kind(everything, "Deployment"):
        if each["metadata"]["name"] == "release-sightline-trainer":  # no client waits for it
            assert (each["spec"]["strategy"], each["spec"]["replicas"]) == ({"type": "Recreate"}, 1)
            continue
        assert each["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        selector = each["spec"]["selector"]["matchLabels"].items()
        assert selector <= each["spec"]["template"]["metadata"]["labels"].items()


def test_an_outage_of_redis_takes_no_api_pod_out_and_restarts_no_worker() -> None:
    objects = objects_of(MINIMAL)
    api, model = container_of(objects, "release-sightline-api"), container_of(objects, "release-sightline-model-cpu")
    assert api["readinessProbe"]["httpGet"]["path"] == "/startupz"
    assert model["readinessProbe"]["httpGet"]["path"] == "/readyz"
    for container in (api, model):
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            # TRUSTED_HOSTS would refuse the pod's address.
            assert container[probe]["httpGet"]["httpHeaders"] == [{"name": "Host", "value": "localhost"}]


@pytest.mark.parametrize("request_s", [0.5, 5, 20.5])
def test_a_pod_has_the_time_that_its_stop_needs(request_s: float) -> None:
    changes = {
        "api": {"requestTimeoutSeconds": request_s, "preStopSeconds": 7},
        "workerDefaults": {"maxBatchSeconds": 60},
    }
    objects = objects_of(merged(MINIMAL, changes))
    grace_s = {name: spec.get("terminationGracePeriodSeconds", 0) for name, spec in pod_specs(objects)}
    assert grace_s["release-sightline-api"] >= 7 + 1 + request_s + 3
    assert grace_s["release-sightline-model-cpu"] >= 60 + 20  # an expensive image with other work
    api = container_of(objects, "release-sightline-api")
    assert api["lifecycle"]["preStop"] == {"exec": {"command": ["sleep", "7"]}}
    assert environment_of(objects, "release-sightline-api")["REQUEST_TIMEOUT_S"] == str(request_s)
    assert environment_of(objects, "release-sightline-model-cpu")["MAX_BATCH_S"] == "60"


def test_a_trainer_is_there_where_it_can_write_versions_that_workers_see() -> None:
    names = {each["metadata"]["name"] for each in objects_of(MINIMAL)}
    assert "release-sightline-trainer" not in names
    claims = {"models": {"existingClaim": "models"}, "reports": {"existingClaim": "reports"}}
    objects = objects_of(merged(MINIMAL, {"trainer": {"enabled": True}, **claims}))
    [spec] = [spec for name, spec in pod_specs(objects) if name == "release-sightline-trainer"]
    volumes = {volume["name"]: volume.get("persistentVolumeClaim") for volume in spec["volumes"]}
    assert (volumes["bundles"], volumes["feedback"]) == ({"claimName": "models"}, {"claimName": "reports"})
    mounts = {mount["name"]: mount.get("readOnly", False) for mount in spec["containers"][0]["volumeMounts"]}
    assert not mounts["bundles"]
    assert environment_of(objects, "release-sightline-trainer")["BUNDLES_FOLDER"] == "/src/bundles"
    s3 = objects_of(merged(MINIMAL, {"trainer": {"enabled": True}, "models": {"s3": "s3://bucket/models"}}))
    assert environment_of(s3, "release-sightline-trainer")["MODEL_STORE"] == "s3://bucket/models"


def test_workers_reach_redis_storage_and_names_only() -> None:
    def ports(component: str) -> set[int]:
        [policy] = [
            each
            for each in of_kind(objects, "NetworkPolicy")
            if each["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == component
        ]
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        return {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}

    changes = {"redis": {"addresses": ["redis.example.org:6380"]}, "s3": {"endpoint": "http://s3.example.org:8333"}}
    changes |= {"trainer": {"enabled": True}, "models": {"s3": "s3://bucket/models"}}
    objects = objects_of(merged(MINIMAL, changes))
    assert ports("trainer") == {53, 6380, 8333, 5432}
    assert ports("model") == {53, 6380, 8333}
    assert ports("api") == {53, 6380, 8333, 5432}
    assert ports("migrate") == {53, 5432}
    assert of_kind(objects_of(merged(MINIMAL, {"networkPolicy": {"enabled": False}})), "NetworkPolicy") == []


@pytest.mark.parametrize(
    ("redis", "url", "kind"),
    [
        ({"addresses": ["a:6379"]}, "redis://a:6379", "redis-streams"),
        ({"addresses": ["a:6379"], "database": 3}, "redis://a:6379?db=3", "redis-streams"),
        ({"addresses": ["a:6379"], "tls": {"enabled": True}}, "rediss://a:6379", "redis-streams"),
        (
            {"addresses": ["a:1", "b:2"], "mode": "sentinel", "sentinelMaster": "m", "tls": {"enabled": True}},
            "rediss+sentinel://a:1,b:2/m",
            "redis-sentinel-streams",
        ),
        (
            {"addresses": ["a:1"], "tls": {"enabled": True, "existingSecret": "ca", "caKey": "ca.pem"}},
            "rediss://a:1?ssl_ca_certs=/run/redis-ca/ca.pem",
            "redis-streams",
        ),
        ({"addresses": ["a:1", "b:1"], "mode": "cluster"}, "redis://a:1,b:1", "redis-cluster-streams"),
    ],
)
def test_keda_watches_the_length_of_the_streams_that_the_service_uses(
    redis: dict[str, Any], url: str, kind: str
) -> None:
    changes = {"redis": redis | {"queue": "q"}, "workerDefaults": {"autoscaling": {"kind": "keda"}}}
    objects = objects_of(merged(MINIMAL, changes))
    assert environment_of(objects, "release-sightline-api")["REDIS_URL"] == url
    assert environment_of(objects, "release-sightline-model-cpu")["REDIS_URL"] == url
    [scaled] = of_kind(objects, "ScaledObject")
    *triggers, by_cpu = scaled["spec"]["triggers"]
    assert [each["type"] for each in triggers] == [kind, kind]
    assert by_cpu == {"type": "cpu", "name": "cpu", "metricType": "Utilization", "metadata": {"value": "70"}}
    assert {each["metadata"]["stream"] for each in triggers} == {"{q}:jobs", "{q}:expensive"}
    for each in triggers:
        # A consumerGroup would switch streamLength off.
        assert "consumerGroup" not in each["metadata"]
        assert each["metadata"]["addresses"] == ",".join(redis["addresses"])
        assert each["metadata"].keys() <= {
            *("addresses", "stream", "streamLength", "enableTLS", "databaseIndex", "sentinelMaster")
        }
    assert "replicas" not in named(objects, "Deployment", "release-sightline-model-cpu")["spec"]


def test_pods_are_added_and_removed_as_the_simulation_has_it(everything: list[Object]) -> None:
    scaling = loaded().values["workerDefaults"]["autoscaling"]
    assert scaling["queueLength"] == CHART_SCALING.queue_length
    assert scaling["prometheus"]["utilization"] == CHART_SCALING.utilization
    assert scaling["targetCPUUtilization"] / 100 == CHART_BY_CPU.cpu
    assert scaling["hpaCPUUtilization"] / 100 == CHART_BY_CPU_ALONE.cpu
    [by_keda], [by_cpu] = (
        [each["spec"]["advanced"]["horizontalPodAutoscalerConfig"] for each in of_kind(everything, "ScaledObject")],
        [
            each["spec"]
            for each in of_kind(everything, "HorizontalPodAutoscaler")
            if "model" in each["metadata"]["name"]
        ],
    )
    assert by_keda["behavior"] == by_cpu["behavior"]
    up, down = by_cpu["behavior"]["scaleUp"], by_cpu["behavior"]["scaleDown"]
    assert (up["stabilizationWindowSeconds"], up["selectPolicy"], down["selectPolicy"]) == (0, "Max", "Max")
    assert down["stabilizationWindowSeconds"] == CHART_SCALING.down_window_s
    for rules, policies in ((up, CHART_SCALING.up), (down, CHART_SCALING.down)):
        assert [(each["type"], each["value"], each["periodSeconds"]) for each in rules["policies"]] == [
            (policy.kind, policy.value, policy.period_s) for policy in policies
        ]


def test_a_class_has_an_api_of_its_own_which_uses_the_queue_that_its_workers_serve(everything: list[Object]) -> None:
    for pod in ("release-sightline-api", "release-sightline-model-cpu"):
        assert "MODEL_CLASS" not in environment_of(everything, pod)
    for pod in ("release-sightline-api-gpu", "release-sightline-model-gpu"):
        assert environment_of(everything, pod)["MODEL_CLASS"] == "gpu"
    streams = {each["metadata"].get("stream") for each in of_kind(everything, "ScaledObject")[0]["spec"]["triggers"]}
    assert streams == {"{sightline.gpu}:jobs", "{sightline.gpu}:expensive", None}
    [ingress] = of_kind(everything, "Ingress")
    backends = [each["http"]["paths"][0]["backend"]["service"]["name"] for each in ingress["spec"]["rules"]]
    assert backends == ["release-sightline-api", "release-sightline-api-gpu"]


def test_an_api_whose_route_has_a_path_knows_that_it_stands_below_it(everything: list[Object]) -> None:
    assert environment_of(everything, "release-sightline-api-gpu")["SCRIPT_NAME"] == "/gpu"
    assert "SCRIPT_NAME" not in environment_of(everything, "release-sightline-api")


def test_services_and_monitors_choose_the_pods_that_they_mean(everything: list[Object]) -> None:
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in of_kind(everything, "Deployment")
    }
    for each in of_kind(everything, "Service", "PodDisruptionBudget"):
        selector = each["spec"]["selector"]
        selector = selector.get("matchLabels", selector).items()
        assert [name for name, found in labels.items() if selector <= found.items()] == [each["metadata"]["name"]]


def test_the_alerts_are_those_of_the_repository(everything: list[Object]) -> None:
    alerts = REPOSITORY / "deploy" / "monitoring" / "alerts.yml"
    assert (CHART / "files" / "alerts.yml").read_text() == alerts.read_text()
    [rule] = of_kind(everything, "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(alerts.read_text())


def test_the_demand_is_a_query_that_prometheus_reads(everything: list[Object], tmp_path: Path) -> None:
    [scaled] = of_kind(everything, "ScaledObject")
    [query] = [each["metadata"]["query"] for each in scaled["spec"]["triggers"] if each["type"] == "prometheus"]
    assert query.count('namespace="somewhere",sightline_class="gpu"') == 4
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "a", "rules": [{"record": "demand", "expr": query}]}]}))
    subprocess.run(["promtool", "check", "rules", str(rules)], check=True, capture_output=True)


def test_every_variable_that_the_chart_sets_is_a_setting_and_cannot_be_set_again(everything: list[Object]) -> None:
    own = re.search(r'"sightline.ownEnv" -}}\n(.+)\n', (CHART / "templates" / "_helpers.tpl").read_text())
    assert own is not None
    names = set(own[1].split())
    for name, _ in pod_specs(everything):
        if not name.endswith("migrate"):
            assert environment_of(everything, name).keys() - names <= {"OTEL_TRACES_EXPORTER"}, name
    settings = (REPOSITORY / "docs" / "settings.md").read_text()
    assert {name for name in names if f"| `{name}` |" not in settings} == set()


SECRETS = {"DATABASE_URL": "postgresql://u:p@h/d", "API_KEYS_FILE": ""}


@pytest.mark.parametrize("redis", [{}, {"mode": "sentinel", "sentinelMaster": "m"}], ids=["one", "sentinels"])
@pytest.mark.parametrize(
    ("root", "pod"),
    [
        ("api", "release-sightline-api-gpu"),
        ("model", "release-sightline-model-gpu"),
        ("model", "release-sightline-trainer"),
    ],
)
def test_a_pod_has_an_environment_that_the_service_takes(root: str, pod: str, redis: dict[str, Any]) -> None:
    # The CA's file is one of the pod's.
    plain = redis | {"addresses": ["a:26379"], "tls": {"enabled": False, "existingSecret": ""}, "database": 2}
    environment = environment_of(objects_of(merged(EVERYTHING, {"redis": plain})), pod)
    told = {name: value if isinstance(value, str) else "a-secret" for name, value in environment.items()}
    told |= {name: SECRETS[name] for name in SECRETS.keys() & told.keys()}
    program = "import settings; print(settings.REDIS_QUEUE, *settings.warnings(), sep='|')"
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY / root,
        env={"PYTHONPATH": ".", **told},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "sightline.gpu"


POOL = {"name": "cpu"}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"secretKey": {"existingSecret": ""}}, ["secretKey.existingSecret"]),
        ({"redis": {"addresses": []}}, ["redis.addresses"]),
        ({"redis": {"addresses": ["redis"]}}, ["redis", "addresses", "'redis'"]),
        ({"redis": {"addresses": ["redis://redis:6379"]}}, ["addresses", "redis://redis:6379"]),
        ({"redis": {"addresses": ["a:1", "b:1"]}}, ["redis.addresses", "standalone"]),
        ({"redis": {"mode": "sentinel"}}, ["redis.sentinelMaster"]),
        ({"redis": {"sentinelMaster": "m"}}, ["redis.sentinelMaster=m", "standalone"]),
        ({"redis": {"mode": "replicated"}}, ["mode", "standalone"]),
        ({"redis": {"address": "a:1"}}, ["redis", "'address'"]),
        ({"redis": {"database": -1}}, ["database"]),
        ({"redis": {"queue": "a b"}}, ["queue", "'a b'"]),
        ({"images": {"s3": ""}}, ["images.s3", "images.existingClaim"]),
        ({"images": {"existingClaim": "claim"}}, ["images.s3", "images.existingClaim"]),
        ({"redis": {"tls": {"certKey": "tls.crt"}}}, ["redis.tls.certKey", "keyKey"]),
        ({"images": {"cleanUpSchedule": "hourly"}}, ["cleanUpSchedule", "'hourly'"]),
        ({"images": {"s3": "bucket"}}, ["s3", "'bucket'"]),
        ({"models": {"s3": "s3://bucket", "existingClaim": "claim"}}, ["models.s3", "models.existingClaim"]),
        ({"database": {"existingSecret": ""}}, ["database.existingSecret", "reports.existingClaim"]),
        ({"s3": {"endpoint": "s3.example.org"}}, ["endpoint", "'s3.example.org'"]),
        ({"api": {"replicas": "two"}}, ["replicas"]),
        ({"api": {"replica": 2}}, ["api", "'replica'"]),
        ({"api": {"image": {"digest": "sha256:12"}}}, ["digest", "'sha256:12'"]),
        ({"api": {"hpa": {"minReplicas": 11}}}, ["api.hpa.minReplicas=11"]),
        ({"api": {"hpa": {"targetCPUUtilization": 0}}}, ["targetCPUUtilization"]),
        ({"api": {"resources": {"request": {}}}}, ["resources", "'request'"]),
        ({"api": {"extraEnv": [{"name": "REDIS_URL", "value": "x"}]}}, ["extraEnv", "REDIS_URL"]),
        ({"api": {"extraEnv": [{"value": "x"}]}}, ["extraEnv", "name"]),
        ({"api": {"extraEnv": [{"name": "A", "value": 1}]}}, ["extraEnv", "value"]),
        ({"extraEnv": [{"name": "DATABASE_URL", "value": "x"}]}, ["extraEnv", "DATABASE_URL"]),
        ({"workerPools": [{}]}, ["workerPools", "name"]),
        ({"workerPools": [POOL, POOL]}, ["workerPools", "two are named cpu"]),
        ({"workerPools": [{"name": "a-name-longer-than-16"}]}, ["workerPools", "name"]),
        ({"workerPools": [POOL | {"modelClass": "gpu"}]}, ["cpu", "gpu", "api.modelClasses"]),
        ({"workerPools": [POOL | {"autoscaling": {"kind": "vpa"}}]}, ["kind", "keda"]),
        ({"workerPools": [POOL | {"autoscaling": {"minReplicas": 20}}]}, ["cpu", "autoscaling.minReplicas=20"]),
        (
            {"workerPools": [POOL | {"autoscaling": {"kind": "keda", "minReplicas": 0}}]},
            ["cpu", "autoscaling.minReplicas=0", "api.admitWithoutWorkers"],
        ),
        ({"workerPools": [POOL | {"extraEnv": [{"name": "METRICS_PORT", "value": "1"}]}]}, ["METRICS_PORT"]),
        (
            {"workerPools": [POOL | {"autoscaling": {"kind": "hpa", "hpaCPUUtilization": 0}}]},
            ["hpaCPUUtilization"],
        ),
        ({"workerDefaults": {"maxBatchSeconds": 0}}, ["maxBatchSeconds"]),
        ({"ingress": {"hosts": [{"host": "a", "modelClass": "gpu"}]}}, ["gpu", "api.modelClasses"]),
        ({"ingress": {"hosts": [{"path": "/"}]}}, ["hosts", "host"]),
        ({"httpRoute": {"rules": [{"path": "predict"}]}}, ["path", "'predict'"]),
        ({"api": {"scriptNames": {"default": "a/"}}}, ["scriptNames", "'a/'"]),
        ({"api": {"scriptNames": {"gpu": "/a"}}}, ["api.scriptNames", "gpu", "api.modelClasses"]),
        ({"trainer": {"enabled": True}}, ["trainer.enabled", "models.s3", "models.existingClaim"]),
        (
            {"trainer": {"enabled": True, "modelClass": "gpu"}, "models": {"s3": "s3://bucket"}},
            ["trainer.modelClass", "gpu"],
        ),
        ({"logLevel": "verbose"}, ["logLevel"]),
        ({"redisUrl": "redis://a"}, ["redisUrl"]),
        ({"networkPolicy": {"redisPorts": [0]}}, ["redisPorts"]),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else None,
)
def test_values_that_are_wrong_are_refused_with_their_name(changes: dict[str, Any], names: list[str]) -> None:
    refusal = refusal_of(changes)
    assert refusal
    assert [name for name in names if name not in refusal] == [], refusal


def test_every_value_of_the_chart_is_in_its_schema_and_has_a_default() -> None:
    def keys(schema: dict[str, Any], values: dict[str, Any], path: str) -> Iterator[str]:
        for name, part in schema.get("properties", {}).items():
            if name not in values:
                yield f"{path}{name}"
            elif "properties" in part:
                yield from keys(part, values[name], f"{path}{name}.")

    schema = loaded().schema
    assert schema is not None
    assert list(keys(schema, loaded().values, "")) == ["global"]
    assert refusal_of({}) == ""
