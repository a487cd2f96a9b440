"""The whole of it: the server with keys, the engine and its link, the bucket, the receiver, and a key for each."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from jobledger.v1.admin_service_pb2 import CreateApiKeyResponse
from jobledger_client import JobClient, Role
from jobledger_client.testing import running_server

from examples import processes
from examples.bucket import Bucket, bucket
from examples.engine import EngineClient

from .hooks import EVENTS, PERCENTS, Inbox, receiving
from .submit import KIND

OWNER = "studio"
READS = 500
FLAGS = {
    "auth": "keys",
    "rate-limit-read": f"{READS}/day",
}
ON_THIS_MACHINE = ["--webhook-allow-http", "--webhook-allow-private-networks"]
"""The receiver is a neighbour; elsewhere it has https, and these stay off."""


@dataclass(frozen=True)
class Studio:
    """What the example and its tests work with."""

    target: str
    files: Bucket
    inbox: Inbox
    airflow: EngineClient
    key: CreateApiKeyResponse
    operator: JobClient
    """Holds an admin's key."""
    client: JobClient
    """Holds the key of the studio, which owns the jobs."""
    rival: JobClient
    """Holds a key of somebody else."""


def start(stack: ExitStack, folder: Path) -> Studio:
    """Start everything."""
    everything = stack.enter_context(bucket(folder / "bucket"))
    files = everything.directory(OWNER)
    files.folder.mkdir()
    flags = [f"--{name}={value}" for name, value in FLAGS.items()]
    flags += [*ON_THIS_MACHINE, f"--artifact-roots={everything.url}/{{owner}}/=file://{everything.folder}/{{owner}}/"]
    token = processes.first_key(folder)
    target = stack.enter_context(running_server(*flags, directory=folder))

    def client(key: str) -> JobClient:
        return stack.enter_context(JobClient(target, api_key=key))

    operator = client(token)
    key = operator.admin.create_api_key("studio", [Role.CALLER], owner=OWNER)
    rival = operator.admin.create_api_key("rival", [Role.CALLER], owner="rival")
    inbox = stack.enter_context(receiving())
    airflow = EngineClient(start_engine(stack, operator, target, files))
    studio = Studio(target, files, inbox, airflow, key, operator, client(key.token), client(rival.token))
    subscribe(studio)
    return studio


def start_engine(stack: ExitStack, operator: JobClient, target: str, files: Bucket) -> str:
    """Start the engine and what links it to Jobledger, each with a key of its own; return the engine's URL."""
    at_work = operator.admin.create_api_key("airflow", [Role.WORKER], owner=OWNER).token
    link = operator.admin.create_api_key("airflow-link", [Role.CALLER, Role.WORKER], owner=OWNER).token
    engine = processes.engine(
        "examples.transcoding.airflow", target, files.folder, files.url, environment={"JOBLEDGER_API_KEY": at_work}
    )
    url = stack.enter_context(engine)
    stack.enter_context(
        processes.worker("examples.engine_link", target, url, KIND, environment={"JOBLEDGER_API_KEY": link})
    )
    return url


def subscribe(studio: Studio) -> str:
    """Create the webhook that notifies the receiver of the studio's jobs; return its name."""
    created = studio.client.webhooks.create_webhook(
        studio.inbox.url, event_types=EVENTS, progress_percents=PERCENTS, kinds=[KIND]
    )
    studio.inbox.secret = created.secret  # it is shown this once
    return created.webhook.webhook_id
