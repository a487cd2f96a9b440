"""One server on a fresh database, hostile callers and a bystander at once, and all that must not come of it."""

import asyncio
import json
import subprocess
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from jobledger.v1.admin_service_pb2 import CreateApiKeyRequest

from tests.fuzz.bystander import Bystander
from tests.fuzz.findings import Finding
from tests.fuzz.hostile import Hostile, most_common, unreached
from tests.fuzz.memory import Memory
from tests.fuzz.methods import Target, served
from tests.support.databases import new_database
from tests.support.keys import ADMIN, CALLER, WORKER, KeyedApi, first_key
from tests.support.receiver import Receiver
from tests.support.server import Server

SETTINGS = {
    "auth": "keys", "channelz": "main", "indexed_labels": "team n", "log_format": "json",
    "DUE_SCAN_SECONDS": "0.2", "TRIM_SECONDS": "1", "BOOKMARK_SECONDS": "0.5",
    "queue_wait": "60", "SLOW_READ_SECONDS": "60", "COMMIT_STALL_SECONDS": "60",
    "webhook_timeout": "1", "webhook_allow_http": "true", "webhook_allow_private_networks": "true",
}  # fmt: skip
HOSTILES: dict[str, dict[str, Any]] = {
    "mallory": {"owner": "mallory", "roles": [CALLER, WORKER]},
    "mallory-2": {"owner": "mallory", "roles": [CALLER, WORKER]},
    "mallory-ally": {"owner": "ally", "roles": [CALLER, WORKER]},
    "mallory-fleet": {"owner": "mallory", "roles": [WORKER], "served_owners": ["mallory", "ally"]},
    "operator": {"owner": "operator", "roles": [ADMIN]},
    "operator-caller": {"owner": "operator", "roles": [ADMIN, CALLER]},
}
"""The hostile callers and their keys: two of an owner, one of an ally, one of a fleet of both, and two of admins.

Those whose names begin alike pass on to each other what they see.
"""


class Campaign:
    """All calls of it come from its seed; which of them meet in the server does not."""

    def __init__(self, store: str, directory: Path, seed: int, notify: Callable[[str], None] = lambda _: None) -> None:
        self.store = store
        self.seed = seed
        self.findings: dict[tuple[str, str], Finding] = {}
        self.hostiles: list[Hostile] = []
        self.targets: list[Target] = []
        self._directory = directory
        self._notify = notify
        self._bystander: Bystander | None = None

    @property
    def calls(self) -> int:
        """Return how many requests the hostile callers sent."""
        return sum(one.calls for one in self.hostiles)

    @property
    def rounds(self) -> int:
        """Return how many rounds the bystander has done."""
        return self._bystander.rounds if self._bystander else 0

    def told(self) -> str:
        """Return how far it is."""
        return f"{self.calls} calls, {self.rounds} rounds: {most_common(self.hostiles, 6)}"

    async def run(self, goes_on: Callable[[int], bool]) -> None:
        """Run for as long as it goes on, asked with the number of calls so far."""
        database = new_database(self.store, self._directory)
        token = first_key(database)
        server = Server(database, self._directory, SETTINGS).start()
        try:
            with Receiver() as receiver:
                await self._attack(server, token, receiver, goes_on)
            self._check_end(server)
        finally:
            server.kill()

    async def _attack(self, server: Server, token: str, receiver: Receiver, goes_on: Callable[[int], bool]) -> None:
        admin = KeyedApi(server.target, token)
        marks = {name: f"{name}-{self._rng(name).getrandbits(64):016x}" for name in (*HOSTILES, "bystander")}
        made = await admin.make(CALLER, WORKER, owner="bystander")
        secrets = [mark.encode() for name, mark in marks.items() if name != "bystander"]
        bystander = self._bystander = Bystander(
            server.target, made.token, self._rng("bystander"), marks["bystander"], secrets, receiver
        )
        self.targets = served(server.target)
        protected = {made.api_key.key_id, token.split("_")[1]}
        await bystander.subscribe()
        for name, described in HOSTILES.items():
            key = await admin.admin.CreateApiKey(CreateApiKeyRequest(name=name, **described))
            protected.add(key.api_key.key_id)
            self.hostiles.append(self._hostile(name, key.token, marks, protected, bystander))
        await admin.channel.close()
        working = asyncio.create_task(self._work(bystander))
        await asyncio.gather(*(self._run(one, server, working, goes_on) for one in self.hostiles))
        for one in self.hostiles:
            await one.read_back(server.target, self.targets)
        self._ended = True
        await working
        await bystander.close()
        for path in unreached(self.hostiles, self.targets):
            self._found(Finding(path, "no request was sent to it"))

    def _hostile(
        self, name: str, token: str, marks: dict[str, str], protected: set[str], bystander: Bystander
    ) -> Hostile:
        rng, group = self._rng(f"{name} sends"), name.partition("-")[0]
        # what an admin writes for an owner is that owner's
        known = (group, "operator")
        others = [mark.encode() for other, mark in marks.items() if other.partition("-")[0] not in known]
        memory = Memory(rng, protected, bystander.stolen)
        admin = ADMIN in HOSTILES[name]["roles"]
        return Hostile(name, token, rng, memory, marks[name], others, self._found, reads_others=admin)

    async def _run(
        self, one: Hostile, server: Server, working: "asyncio.Task[None]", goes_on: Callable[[int], bool]
    ) -> None:
        await one.run(server.target, self.targets, lambda: not working.done() and goes_on(self.calls))

    _ended = False

    async def _work(self, bystander: Bystander) -> None:
        """Work until the others have ended, and one round more."""
        last = False
        try:
            while not last:
                last = self._ended
                await bystander.work()
        except Exception:  # noqa: BLE001 - whatever it is, he is harmed
            self._found(Finding("bystander", "he is harmed", traceback.format_exc(limit=-6)))

    def _rng(self, name: str) -> Random:
        return Random(f"{self.seed} {self.store} {name}")

    def _check_end(self, server: Server) -> None:
        """Hold that the server drains as it should, and that its log tells of no defect."""
        try:
            if (status := server.stop()) != 0:
                self._found(Finding("server", f"it ended with status {status}", server.tail()))
        except subprocess.TimeoutExpired:
            self._found(Finding("server", "it did not drain", server.tail()))
        for line in server.log.read_text(errors="replace").splitlines():
            if wrong := wrong_line(line):
                self._found(Finding("log", wrong, line))

    def _found(self, finding: Finding) -> None:
        if finding.key in self.findings:
            return
        self.findings[finding.key] = finding
        target = next((one for one in self.targets if one.path == finding.method), None)
        self._notify(finding.shown(target))


def wrong_line(line: str) -> str:
    """Return what of a line of the log should never be there; empty for what may be."""
    try:
        read = json.loads(line)
    except ValueError:
        return "a line that is not the log's own"
    if read["level"] in ("error", "critical"):
        return f"level {read['level']}: {read['event']}"
    return f"a traceback: {read['event']}" if "Traceback" in line else ""


def until(calls: int) -> Callable[[int], bool]:
    """Return a bound on the number of calls."""
    return lambda done: done < calls


def shown(findings: Sequence[Finding]) -> str:
    """Return the findings, each on a line or some."""
    return "\n".join(one.shown() for one in findings)
