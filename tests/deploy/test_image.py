"""The image is made of what there is, with all extras, and its health check asks where its server listens."""

import re
import tomllib

from jobledger_service.cli.main import cli
from typer.main import get_command

from deploy.packages import image, wheels
from tests.deploy.containers import DEPLOY, read_settings

DOCKERFILE = re.sub(r"\s*\\\n\s*", " ", (DEPLOY / "Dockerfile").read_text())


def test_the_context_has_each_distribution():
    let_through = re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert {project.name for project in wheels.distributions()} | {"constraints.txt"} <= set(let_through)
    assert set(let_through) <= {"client", "console", "constraints.txt", "protos", "service"}


def test_every_instruction_of_the_first_stage_is_one_that_is_tried():
    steps = list(image.first_stage())
    assert {step.split()[0] for step in steps} == {"WORKDIR", "COPY", "RUN"}
    assert f"COPY --from=build {image.TARGET} {image.TARGET}" in DOCKERFILE.splitlines()


def test_it_has_all_extras_of_the_server():
    project = tomllib.loads((wheels.ROOT / "service" / "pyproject.toml").read_text())["project"]
    [extras] = re.findall(r"'jobledger-service\[([^]]*)\]'", DOCKERFILE)
    assert extras.split(",") == sorted(project["optional-dependencies"])


def test_it_serves_to_other_hosts_as_a_user_without_rights():
    assert re.findall("^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001"]
    [listen] = re.findall(r"JOBLEDGER_LISTEN=(\S+)", DOCKERFILE)
    assert read_settings(["serve", "--insecure"], {"JOBLEDGER_LISTEN": listen})["listen"] == listen
    assert re.findall("^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE) == [listen.rpartition(":")[2]]


def test_its_commands_are_those_of_the_server():
    assert 'ENTRYPOINT ["jobledger-server"]' in DOCKERFILE
    commands = get_command(cli).commands
    [checked] = re.findall(r"CMD jobledger-server (\w+) >", DOCKERFILE)
    assert {"serve", "migrate", checked} <= set(commands)
