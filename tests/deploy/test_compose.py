"""The Compose file: command lines and variables are the server's, and what it mounts and scrapes is there."""

import json
import re
from typing import Any

import pytest
import yaml

from tests.deploy.containers import DEPLOY, console_settings, read_settings

FILE = DEPLOY / "compose.yaml"
TEXT = FILE.read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("jobledger:")}
VARIABLE = re.compile(r"\$\{(\w+):\?[^}]*\}")


def environment(name: str) -> dict[str, str]:
    """Return the variables of a service, with a password in place of each variable of the caller."""
    return {name: VARIABLE.sub("secret", value) for name, value in SERVICES[name].get("environment", {}).items()}


def mounts(name: str) -> dict[str, str]:
    """Return what a service mounts of the tree: the paths in the container, and here."""
    found = [volume.split(":") for volume in SERVICES[name]["volumes"]]
    return {parts[1]: parts[0] for parts in found if parts[0].startswith(".")}


def settings() -> dict[str, Any]:
    return read_settings(SERVICES["server"]["command"], environment("server"))


def test_the_server_takes_its_command_line():
    read = settings()
    assert read["database"] == "postgresql+psycopg://jobledger:***@postgres:5432/jobledger"
    ports = [port.rsplit(":", 1)[-1] for port in SERVICES["server"]["ports"]]
    assert ports == [read["listen"].rpartition(":")[2]]
    assert int(SERVICES["server"]["stop_grace_period"].removesuffix("s")) >= read["drain_timeout"] + 10


def test_the_migration_is_of_the_database_of_the_server():
    assert SERVICES["migrate"]["command"] == ["migrate"]
    assert environment("migrate") == {"JOBLEDGER_DATABASE": environment("server")["JOBLEDGER_DATABASE"]}
    postgres = environment("postgres")
    credentials = f"{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}@postgres:5432/{postgres['POSTGRES_DB']}"
    assert environment("server")["JOBLEDGER_DATABASE"].endswith(f"//{credentials}")


def test_the_console_takes_its_command_line_and_asks_the_server(monkeypatch: pytest.MonkeyPatch):
    console = SERVICES["console"]
    assert console["entrypoint"] == ["jobledger-console"]
    chosen = console_settings(monkeypatch, console["command"])
    assert chosen.target == f"server:{settings()['listen'].rpartition(':')[2]}"
    assert [port.rsplit(":", 1)[-1] for port in console["ports"]] == [str(chosen.port)]


def test_every_service_of_ours_is_one_image_and_may_write_nothing():
    assert set(OURS) == {"server", "migrate", "console"}
    for service in OURS.values():
        assert (service["image"], service["read_only"], service["cap_drop"]) == ("jobledger:0.1.0", True, ["ALL"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_port_is_open_on_loopback_alone_and_a_version_is_named(name: str):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))
    assert re.fullmatch(r"[\w/]+:v?\d[\w.-]+", SERVICES[name]["image"])


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_what_is_mounted_is_there(name: str):
    assert mounts(name)
    for path in mounts(name).values():
        assert (DEPLOY / path).exists(), path


def test_prometheus_scrapes_the_server_by_the_name_that_alerts_ask_for():
    config = yaml.safe_load((DEPLOY / mounts("prometheus")["/etc/prometheus/prometheus.yml"]).read_text())
    [scraped] = config["scrape_configs"]
    port = settings()["metrics_listen"].rpartition(":")[2]
    assert scraped["static_configs"] == [{"targets": [f"server:{port}"]}]
    [rules] = config["rule_files"]
    alerts = (DEPLOY / mounts("prometheus")[rules]).read_text()
    assert set(re.findall(r'job="(\w+)"', alerts)) == {scraped["job_name"]}


def test_grafana_gets_the_board_and_its_source():
    files = mounts("grafana")
    provisioning = "/etc/grafana/provisioning"
    [source] = yaml.safe_load((DEPLOY / files[f"{provisioning}/datasources/jobledger.yaml"]).read_text())["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    [boards] = yaml.safe_load((DEPLOY / files[f"{provisioning}/dashboards/jobledger.yaml"]).read_text())["providers"]
    [board] = (DEPLOY / files[boards["options"]["path"]]).glob("*.json")
    variables = {one["name"]: one for one in json.loads(board.read_text())["templating"]["list"]}
    assert variables["datasource"]["query"] == source["type"]
