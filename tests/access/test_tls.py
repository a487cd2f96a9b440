"""TLS and mTLS by real handshakes: with the SDK, the worker, the command line, and certificates that change."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme
from click.testing import Result
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from jobledger_client import AsyncJobClient, Backoff, JobClient, Role, UnavailableError, Worker
from jobledger_client.cli._main import run
from jobledger_service.cli.main import cli
from jobledger_service.cli.startup_checks import check_settings
from jobledger_service.listeners import certificates_of
from jobledger_service.settings import InvalidSettingError, Settings
from jobledger_service.transport.tls import CertificateError
from typer.testing import CliRunner

from tests.conftest import QUICK
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.databases import new_database
from tests.support.keys import first_key
from tests.support.server import Server
from tests.test_server import refused_to_start

pytestmark = pytest.mark.one_store("connections know nothing of the store")

ONCE = Backoff(initial=3 * CALL_TIMEOUT, max_wait=3 * CALL_TIMEOUT)
"""With which a call that has failed is not made again: there is no time left."""
INSISTED = [{"auth": "keys", "tls": "yes"}, {"auth": "keys", "insecure": True}, {"insecure": True}]


@dataclass
class Pki:
    """An authority, and files with what it issues."""

    directory: Path
    authority: trustme.CA

    @property
    def ca_file(self) -> str:
        self.authority.cert_pem.write_to_path(self.directory / "ca.pem")
        return str(self.directory / "ca.pem")

    def issue(self, name: str, host: str = "localhost") -> tuple[str, str]:
        """Write a new certificate and its key in place of those under this name, as a renewal does."""
        made = self.authority.issue_cert(host)
        cert, key = self.directory / f"{name}.pem", self.directory / f"{name}-key.pem"
        for path, pem in ((cert, made.cert_chain_pems[0]), (key, made.private_key_pem)):
            fresh = path.with_suffix(".new")
            pem.write_to_path(fresh)
            fresh.replace(path)
        return str(cert), str(key)

    def credentials(self, cert: str = "", key: str = "") -> grpc.ChannelCredentials:
        pair = (Path(key).read_bytes(), Path(cert).read_bytes()) if cert else (None, None)
        return grpc.ssl_channel_credentials(Path(self.ca_file).read_bytes(), *pair)

    def serial(self, target: str) -> str:
        """Shake hands and return the serial number of the certificate that the server shows."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.set_alpn_protocols(["h2"])
        host, _, port = target.rpartition(":")
        with (
            socket.create_connection((host, int(port))) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as shaken,
        ):
            return str(shaken.getpeercert()["serialNumber"])


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"), trustme.CA())


@contextmanager
def serving(pki: Pki, name: str, **settings: str) -> Iterator[Server]:
    """Start a server with a certificate of this name; at the end it drains. gRPC itself logs handshakes that fail."""
    cert, key = pki.issue(name)
    database = settings.pop("database", "") or new_database("sqlite", pki.directory)
    server = Server(database, pki.directory, QUICK | {"tls_cert": cert, "tls_key": key} | settings).start()
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def encrypted(pki: Pki) -> Iterator[Server]:
    """Return a server with TLS, for everybody."""
    with serving(pki, "server") as server:
        yield server


@pytest.fixture(scope="module")
def guarded(pki: Pki) -> Iterator[tuple[Server, str]]:
    """Return a server with mTLS, keys and no reflection, and the token of an admin."""
    database = new_database("sqlite", pki.directory)
    token = first_key(database)
    guards = {"auth": "keys", "reflection": "off", "tls_client_ca": pki.ca_file}
    with serving(pki, "guarded", database=database, **guards) as server:
        yield server, token


def localhost(server: Server) -> str:
    return server.target.replace("127.0.0.1", "localhost")


def command(server: Server, *words: str, timeout: float = BOUND) -> int:
    """Run `jobledger` and return its exit code."""
    return run([*words, "--target", localhost(server), "--timeout", f"{timeout}"])


async def test_the_sdk_the_worker_and_the_command_line_speak_tls(encrypted: Server, pki: Pki, kind: str):
    server = encrypted
    async with AsyncJobClient(localhost(server), credentials=pki.credentials()) as client:
        job_id = (await client.create_job(kind)).job.job_id
        worker = Worker(localhost(server), credentials=pki.credentials())
        worker.handler(kind)(lambda ctx: ctx.result("s3://bucket/done"))
        serving = asyncio.create_task(worker.serve())
        job = await client.wait(job_id, timeout=CALL_TIMEOUT)
        worker.stop()
        await serving
    assert job.result_uri == "s3://bucket/done"
    assert await asyncio.to_thread(command, server, "watch", job_id, "--ca-file", pki.ca_file) == 0


@pytest.mark.parametrize("trust", ["none", "another's"])
def test_who_speaks_no_tls_or_trusts_another_authority_gets_no_answer(encrypted: Server, tmp_path: Path, trust: str):
    strange = Pki(tmp_path, trustme.CA()).credentials() if trust != "none" else None
    client = JobClient(localhost(encrypted), credentials=strange, timeout=CALL_TIMEOUT, backoff=ONCE)
    with client, pytest.raises(UnavailableError):
        client.list_jobs().page()


def test_with_mtls_a_client_needs_a_certificate_of_the_authority_and_a_key(
    guarded: tuple[Server, str], pki: Pki, monkeypatch: pytest.MonkeyPatch
):
    server, token = guarded
    cert, key = pki.issue("client", "someone")
    with JobClient(localhost(server), credentials=pki.credentials(cert, key), api_key=token) as client:
        made = client.admin.create_api_key("sdk", [Role.CALLER], owner="sdk")
        assert [key.key_id for key in client.admin.list_api_keys(owner="sdk")] == [made.api_key.key_id]
        rotated = client.admin.rotate_api_key(made.api_key.key_id)
        assert client.admin.revoke_api_key(rotated.replaced.key_id).HasField("revoke_time")
    other = trustme.CA().issue_cert("someone")
    pair = (other.private_key_pem.bytes(), other.cert_chain_pems[0].bytes())
    for credentials in (pki.credentials(), grpc.ssl_channel_credentials(Path(pki.ca_file).read_bytes(), *pair)):
        client = JobClient(
            localhost(server), credentials=credentials, timeout=CALL_TIMEOUT, backoff=ONCE, api_key=token
        )
        with client, pytest.raises(UnavailableError):
            client.list_jobs().page()
    flags = ("--ca-file", pki.ca_file, "--cert-file", cert, "--key-file", key)
    assert command(server, "list", *flags, "--api-key", made.token) == 77
    monkeypatch.setenv("JOBLEDGER_API_KEY", rotated.token)
    assert command(server, "list", *flags) == 0
    assert command(server, "list", "--ca-file", pki.ca_file, timeout=5) in {69, 75}
    listed = CliRunner().invoke(cli, ["keys", "--target", localhost(server), *flags, "--api-key", token, "list"])
    assert (listed.exit_code, "sdk" in listed.stdout) == (0, True)


def test_only_an_admin_with_a_certificate_gets_the_health(guarded: tuple[Server, str], pki: Pki):
    server, token = guarded
    cert, key = pki.issue("operator", "someone")
    flags = ("--ca-file", pki.ca_file, "--cert-file", cert, "--key-file", key)

    def health(*more: str) -> Result:
        return CliRunner().invoke(cli, ["health", "--target", localhost(server), "--timeout", f"{BOUND}", *more])

    reported = health(*flags, "--api-key", token)
    assert (reported.exit_code, reported.stdout.splitlines()[0]) == (0, "healthy")
    nobody = health(*flags)
    assert (nobody.exit_code, "authorization" in nobody.stderr) == (77, True)
    with JobClient(localhost(server), credentials=pki.credentials(cert, key), api_key=token) as client:
        caller = client.admin.create_api_key("someone", [Role.CALLER]).token
    assert health(*flags, "--api-key", caller).exit_code == 77
    assert health("--ca-file", pki.ca_file, "--api-key", token, "--timeout", "1").exit_code == 69
    assert health("--api-key", token, "--timeout", "1").exit_code == 69


@pytest.mark.parametrize("host", ["jobs.example", "*.jobs.example", "192.0.2.7"])
def test_health_of_the_own_server_needs_no_flags_for_tls(encrypted: Server, pki: Pki, host: str):
    def health(pair: tuple[str, str], *flags: str) -> Result:
        own = {"LISTEN": encrypted.target, "TLS_CERT": pair[0], "TLS_KEY": pair[1]}
        settings = {f"JOBLEDGER_{name}": value for name, value in own.items()}
        return CliRunner().invoke(cli, ["health", *flags], env=settings)

    try:
        pair = pki.issue("server", host)  # for another name than that of where it listens
        reported = health(pair, "--timeout", f"{BOUND}")
        assert (reported.exit_code, reported.stdout.splitlines()[:1]) == (0, ["healthy"]), reported.stderr
        # An authority vouches for names, and that of where it listens is not on the certificate.
        assert health(pair, "--ca-file", pki.ca_file, "--timeout", "1").exit_code == 69
        assert health(pki.issue("other"), "--timeout", "1").exit_code == 69
    finally:
        pki.issue("server")


def test_health_of_the_own_server_reports_that_mtls_needs_a_certificate(guarded: tuple[Server, str], pki: Pki):
    server, token = guarded
    own = {"LISTEN": server.target, "TLS_CERT": server.settings["tls_cert"], "TLS_KEY": server.settings["tls_key"]}
    settings = {f"JOBLEDGER_{name}": value for name, value in (own | {"TLS_CLIENT_CA": pki.ca_file}).items()}
    alone = CliRunner().invoke(cli, ["health", "--api-key", token], env=settings)
    assert (alone.exit_code, "--cert-file" in alone.stderr) == (78, True)
    cert, key = pki.issue("prober", "prober")
    words = ["health", "--api-key", token, "--cert-file", cert, "--key-file", key, "--timeout", f"{BOUND}"]
    assert CliRunner().invoke(cli, words, env=settings).exit_code == 0


def test_a_renewed_certificate_is_shown_to_new_connections_and_open_ones_continue(encrypted: Server, pki: Pki):
    server = encrypted
    with JobClient(localhost(server), credentials=pki.credentials()) as client:
        client.list_jobs().page()
        before = pki.serial(server.target)
        assert pki.serial(server.target) == before
        pki.issue("server")
        after = pki.serial(server.target)
        assert after != before
        client.list_jobs().page()
    Path(pki.directory / "server-key.pem").write_text("half a renewal")
    assert pki.serial(server.target) == after
    assert "the previous certificate stays in use" in server.tail()
    pki.issue("server")
    assert pki.serial(server.target) not in {before, after}


def test_a_certificate_that_is_taken_away_is_reported_once_and_the_old_continues(encrypted: Server, pki: Pki):
    output = "the previous certificate stays in use"
    before, reported = pki.serial(encrypted.target), encrypted.tail(1_000_000).count(output)
    (pki.directory / "server-key.pem").unlink()
    assert [pki.serial(encrypted.target) for _ in range(3)] == [before] * 3
    assert encrypted.tail(1_000_000).count(output) == reported + 1
    pki.issue("server")
    assert pki.serial(encrypted.target) != before


@pytest.mark.parametrize(
    ("settings", "output"),
    [
        ({"tls_cert": "CERT"}, "--tls-key"),
        ({"tls_key": "KEY"}, "--tls-cert"),
        ({"tls_client_ca": "CERT"}, "--tls-client-ca"),
        ({"tls_cert": "KEY", "tls_key": "KEY"}, "server-key.pem"),
        ({"tls_cert": "CERT", "tls_key": "KEY", "tls_client_ca": "KEY"}, "server-key.pem"),
        ({"listen": "0.0.0.0:0"}, "without authentication"),
        ({"listen": "[::]:0", "tls_cert": "CERT", "tls_key": "KEY"}, "without authentication"),
        ({"listen": "0.0.0.0:0", "auth": "keys"}, "without TLS"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(pki: Pki, settings: dict[str, str], output: str):
    cert, key = pki.issue("server")
    files = {"CERT": cert, "KEY": key}
    given = Settings(**{name: files.get(value, value) for name, value in settings.items()})
    with pytest.raises((InvalidSettingError, CertificateError), match=output):
        _ = check_settings(given), certificates_of(given)


def test_a_certificate_that_is_not_there_is_reported_in_a_sentence(tmp_path: Path):
    place = {"database": f"sqlite:///{tmp_path}/x.db", "listen": "127.0.0.1:0"}
    assert "/no/such" in refused_to_start(tmp_path, status=78, tls_cert="/no/such", tls_key="/no/such", **place)


@pytest.mark.parametrize("settings", INSISTED)
def test_other_hosts_are_admitted_with_keys_and_tls_or_when_the_operator_insists(pki: Pki, settings: dict):
    cert, key = pki.issue("server")
    files = {"tls_cert": cert, "tls_key": key} if "tls" in settings else {}
    given = {name: value for name, value in settings.items() if name != "tls"}
    check_settings(Settings(listen="0.0.0.0:7070", **given, **files))


def test_reflection_can_be_switched_off(guarded: tuple[Server, str], pki: Pki):
    pair = pki.issue("client", "someone")
    with grpc.secure_channel(localhost(guarded[0]), pki.credentials(*pair)) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            ProtoReflectionDescriptorDatabase(channel).get_services()
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        answer = HealthStub(channel).Check(HealthCheckRequest())  # which asks for no key
        assert answer.status == HealthCheckResponse.SERVING
