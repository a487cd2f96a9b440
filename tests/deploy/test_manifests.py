"""The manifests say what the server understands: its services, its settings, its command lines."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jobledger.v1 import job_service_pb2, worker_service_pb2
from jobledger_service.cli.exits import CONFIGURATION
from jobledger_service.cli.main import cli
from jobledger_service.settings import Settings
from typer.testing import CliRunner

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
SERVICES = {"", *(f"jobledger.v1.{file.name}" for file in (
    job_service_pb2.DESCRIPTOR.services_by_name["JobService"],
    worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"],
))}  # fmt: skip
URL = "postgresql+psycopg://jobledger@host/jobledger"


def documents() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text())


def named(kind: str) -> dict[str, Any]:
    [found] = [document for document in documents() if document["kind"] == kind]
    return found


def pods() -> list[dict[str, Any]]:
    return [document["spec"]["template"]["spec"] for document in documents() if "template" in document.get("spec", {})]


def containers() -> list[dict[str, Any]]:
    return [container for pod in pods() for container in pod["containers"]]


def environment(container: dict[str, Any]) -> dict[str, str]:
    """Return the settings that a container gets, with a URL in place of the secret."""
    return {one["name"]: one.get("value", URL) for one in container["env"]}


def settings_of(container: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that come of a container: its command line and environment, as the server reads them."""
    _, *flags = container["args"]
    reported = CliRunner().invoke(cli, ["config", *flags, "--output", "json"], env=environment(container))
    assert reported.exit_code == 0, reported.output
    return {name: one["value"] for name, one in json.loads(reported.output).items()}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_manifest_is_one_named_object(path: Path):
    for document in yaml.safe_load_all(path.read_text()):
        assert {"apiVersion", "kind", "metadata"} <= set(document)
        assert document["metadata"]["name"].startswith("jobledger")


def test_there_is_one_of_each():
    kinds = ["Deployment", "Job", "PodDisruptionBudget", "Secret", "Service"]
    assert sorted(document["kind"] for document in documents()) == kinds


def test_every_variable_is_a_setting():
    for container in containers():
        for name in environment(container):
            assert name.removeprefix("JOBLEDGER_").lower() in Settings.model_fields, name


def test_the_server_takes_its_command_line():
    [server] = [container for container in containers() if container["args"][0] == "serve"]
    read = settings_of(server)
    assert read["database"] == URL
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


def test_names_selectors_and_the_secret_fit_together():
    labels = named("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert named("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert named("Service")["spec"]["selector"] == labels
    assert named("Service")["spec"]["clusterIP"] == "None"
    assert named("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    secret = named("Secret")
    for container in containers():
        [given] = [one["valueFrom"]["secretKeyRef"] for one in container["env"] if one["name"] == "JOBLEDGER_DATABASE"]
        assert given["name"] == secret["metadata"]["name"]
        assert given["key"] in secret["stringData"]


def test_all_run_one_image_and_not_as_root():
    assert len({container["image"] for container in containers()}) == 1
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"]
        assert f"USER {pod['securityContext']['runAsUser']}" in (DEPLOY / "Dockerfile").read_text()


def test_the_image_is_made_of_what_there_is():
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1] for line in lines if line.startswith("COPY")]
    assert copied == ["constraints.txt", "protos", "client", "service"]
    assert all((DEPLOY.parent / name).exists() for name in copied)
    assert 'ENTRYPOINT ["jobledger-server"]' in lines
