"""The manifests say what the server understands: its services, its settings, its command lines."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jobledger.v1 import job_service_pb2, worker_service_pb2
from jobledger_service.cli.exits import CONFIGURATION
from jobledger_service.cli.main import cli
from jobledger_service.settings import SETTINGS
from typer.testing import CliRunner

from tests.deploy.containers import DEPLOY, console_settings, read_settings

MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
SERVICES = {"", *(f"jobledger.v1.{file.name}" for file in (
    job_service_pb2.DESCRIPTOR.services_by_name["JobService"],
    worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"],
))}  # fmt: skip
CONSOLE = "jobledger-console"
SECRETS = {
    ("jobledger-database", "url"): "postgresql+psycopg://jobledger@host/jobledger",
    ("jobledger-sealing", "keys"): "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
}
"""The secrets that containers may name, each with a value."""


def documents() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text())


def all_named(kind: str) -> list[dict[str, Any]]:
    """Return the objects of a kind that are for the server."""
    return [one for one in documents() if one["kind"] == kind and one["metadata"]["name"] != CONSOLE]


def named(kind: str) -> dict[str, Any]:
    [found] = all_named(kind)
    return found


def pods() -> list[dict[str, Any]]:
    return [document["spec"]["template"]["spec"] for document in documents() if "template" in document.get("spec", {})]


def containers() -> list[dict[str, Any]]:
    """Return the containers that run jobledger-server."""
    return [container for pod in pods() for container in pod["containers"] if "command" not in container]


def value(variable: dict[str, Any]) -> str:
    """Return the value of a variable, or one for its secret."""
    if "value" in variable:
        return variable["value"]
    secret = variable["valueFrom"]["secretKeyRef"]
    return SECRETS[secret["name"], secret["key"]]


def environment(container: dict[str, Any]) -> dict[str, str]:
    """Return the settings that a container gets, with values in place of secrets."""
    return {one["name"]: value(one) for one in container["env"]}


def settings_of(container: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that come of a container: its command line and environment, as the server reads them."""
    return read_settings(container["args"], environment(container))


def with_tls() -> dict[str, Any]:
    """Return the container of the server as patches/tls.yaml changes it."""
    patch = yaml.safe_load((DEPLOY / "kubernetes" / "patches" / "tls.yaml").read_text())
    assert (patch["kind"], patch["metadata"]["name"]) == ("Deployment", named("Deployment")["metadata"]["name"])
    [change] = patch["spec"]["template"]["spec"]["containers"]
    [server] = copy.deepcopy(named("Deployment")["spec"]["template"]["spec"]["containers"])
    assert change["name"] == server["name"]
    for name, changed in change.items():
        if name == "env":
            server["env"] += changed
        elif isinstance(changed, dict):
            server[name] = {key: one for key, one in (server[name] | changed).items() if one is not None}
        else:
            server[name] = changed
    return server


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_manifest_is_one_named_object(path: Path):
    for document in yaml.safe_load_all(path.read_text()):
        assert {"apiVersion", "kind", "metadata"} <= set(document)
        assert document["metadata"]["name"].startswith("jobledger")


def test_there_is_one_of_each():
    kinds = "Deployment Deployment Job NetworkPolicy PodDisruptionBudget Secret Secret Service Service Service"
    assert sorted(document["kind"] for document in documents()) == kinds.split()


def test_every_variable_is_a_setting():
    for container in [*containers(), with_tls()]:
        for name in environment(container):
            assert name.removeprefix("JOBLEDGER_").lower() in SETTINGS, name


def test_the_server_takes_its_command_line():
    [server] = [container for container in containers() if container["args"][0] == "serve"]
    read = settings_of(server)
    assert read["database"] == SECRETS["jobledger-database", "url"]
    assert read["secrets_keys"] != ""
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert read["listen"] == f"0.0.0.0:{ports['grpc']}"
    assert read["metrics_listen"] == f"0.0.0.0:{ports['metrics']}"


def test_the_migration_takes_its_command_line():
    [migrate] = [container for container in containers() if container["args"][0] == "migrate"]
    nowhere = environment(migrate) | {"JOBLEDGER_DATABASE": "nowhere://host"}
    ended = CliRunner().invoke(cli, migrate["args"], env=nowhere)
    assert (ended.exit_code, "nowhere://host" in ended.output) == (CONFIGURATION, True)


def test_probes_ask_for_services_that_there_are_on_the_port_that_there_is():
    [server] = named("Deployment")["spec"]["template"]["spec"]["containers"]
    probes = {name: probe["grpc"] for name, probe in server.items() if name.endswith("Probe")}
    assert set(probes) == {"startupProbe", "readinessProbe", "livenessProbe"}
    for probe in probes.values():
        assert probe.get("service", "") in SERVICES
        assert probe["port"] == server["ports"][0]["containerPort"]


def test_the_grace_period_is_longer_than_the_drain():
    pod = named("Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= settings_of(pod["containers"][0])["drain_timeout"] + 10
    probe = pod["containers"][0]["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > pod["terminationGracePeriodSeconds"]


def test_with_tls_the_server_takes_its_command_line_and_is_asked_for_a_connection():
    server = with_tls()
    plain = settings_of(named("Deployment")["spec"]["template"]["spec"]["containers"][0])
    read = settings_of(server)
    changed = {name for name in read if read[name] != plain[name]}
    assert changed == {"insecure", "tls_cert", "tls_key"}
    [mount] = server["volumeMounts"]
    assert {read["tls_cert"], read["tls_key"]} == {f"{mount['mountPath']}/tls.crt", f"{mount['mountPath']}/tls.key"}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["tcpSocket"] == {"port": "grpc"}
        assert "grpc" not in server[probe]


def test_names_and_selectors_fit_together():
    labels = named("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert named("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert named("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert named("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    headless, client = all_named("Service")
    assert headless["spec"]["selector"] == client["spec"]["selector"] == labels
    assert (headless["spec"]["clusterIP"], "clusterIP" in client["spec"]) == ("None", False)


def test_the_network_policy_names_each_port_of_the_server():
    [server] = named("Deployment")["spec"]["template"]["spec"]["containers"]
    opened = [port["port"] for rule in named("NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]]
    assert opened == [port["name"] for port in server["ports"]]
    assert all(rule["from"] for rule in named("NetworkPolicy")["spec"]["ingress"])


def test_every_secret_has_its_form():
    forms = {(secret["metadata"]["name"], key) for secret in all_named("Secret") for key in secret["stringData"]}
    assert forms == set(SECRETS)
    for container in containers():
        environment(container)


def test_all_run_one_image_and_not_as_root():
    assert len({container["image"] for pod in pods() for container in pod["containers"]}) == 1
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"]
        assert f"USER {pod['securityContext']['runAsUser']}" in (DEPLOY / "Dockerfile").read_text()


def test_the_console_reaches_the_server_and_takes_its_command_line(monkeypatch: pytest.MonkeyPatch):
    deployment, service = [one for one in documents() if one["metadata"]["name"] == CONSOLE]
    pod = deployment["spec"]["template"]
    [console] = pod["spec"]["containers"]
    allowed, _ = named("NetworkPolicy")["spec"]["ingress"]
    assert allowed["from"][0]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    chosen = console_settings(monkeypatch, console["args"])
    assert chosen.target in {f"{one['metadata']['name']}:7070" for one in all_named("Service")}
    assert chosen.port == console["ports"][0]["containerPort"]


def test_the_documents_that_deploy_names_are_there():
    named = {name for path in DEPLOY.rglob("*.y*ml") for name in re.findall(r"\bdocs/[\w/.-]*\w", path.read_text())}
    assert {"docs/operations/tls.md", "docs/scaling.md"} <= named
    assert [name for name in named if not (DEPLOY.parent / name).exists()] == []
