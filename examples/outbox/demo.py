"""The demo: a shop, a relay and a server are killed again and again; each committed order has its job, once."""

import random
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from jobledger_client import ChangeType, JobClient, outbox
from sqlalchemy import Engine, create_engine, func, select

from examples import processes
from examples.image_crawler.broker import free_port
from examples.processes import BIN, LIMIT, say

from .shop import KIND, orders

ORDERS = 500
KILLS = 9
PAUSE = 0.6


class Victim:
    """A process that is started again whenever it was killed."""

    def __init__(self, stack: ExitStack, command: list[object]) -> None:
        self._stack = stack
        self._command = list(map(str, command))
        self.kills = 0
        self.start()

    def start(self) -> None:
        """Start the process."""
        process = subprocess.Popen(
            self._command, text=True, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.process = self._stack.enter_context(processes.ending(process))

    def kill(self) -> None:
        """Kill it as a crash does, and start it again."""
        self.process.kill()
        self.process.wait()
        self.kills += 1
        self.start()

    def run_for(self, seconds: float) -> bool:
        """Wait for so long, or until it has ended; return whether it still runs."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False


def kill_them(shop: Victim, relay: Victim, server: Victim) -> None:
    """Kill one of the three after the other while the shop takes orders, and the others after that."""
    victims = [shop, relay, server]
    while sum(victim.kills for victim in victims) < KILLS or shop.run_for(PAUSE):
        running = shop.run_for(PAUSE * random.random())  # noqa: S311 - no secret
        victim = victims[sum(victim.kills for victim in victims) % 3]
        if victim is not shop or running:
            victim.kill()
        else:
            shop.kills += 1
    say(f"killed: the shop {shop.kills} times, the relay {relay.kills} times, the server {server.kills} times")


def wait_for_relay(engine: Engine, relay: Victim) -> None:
    """Wait until the outbox is empty; rows of a killed relay are sent a minute after it claimed them."""
    count = select(func.count()).select_from(outbox.table)
    while True:
        with engine.begin() as connection:
            left = connection.execute(count).scalar_one()
        if not left:
            return
        say(f"  {left} rows wait in the outbox")
        relay.run_for(5)


def check(engine: Engine, target: str) -> None:
    """Compare the committed orders with the jobs that were created."""
    with engine.begin() as connection:
        committed = {job_id for (job_id,) in connection.execute(select(orders.c.job_id))}
    with JobClient(target, timeout=LIMIT) as client:
        events = client.list_events(kinds=[KIND], change_types=[ChangeType.CREATED], page_size=500)
        created = Counter(event.job_id for event in events)
    twice = sum(count > 1 for count in created.values())
    missing, extra = len(committed - created.keys()), len(created.keys() - committed)
    say(f"{len(committed)} orders committed, {len(created)} jobs: {missing} missing, {extra} extra, {twice} twice")
    if missing or extra or twice:
        raise SystemExit("orders and jobs differ")


def main() -> None:
    """Run the demo in a temporary folder that goes when it ends."""
    with processes.stage("outbox") as (stack, folder):
        run(stack, folder)


def run(stack: ExitStack, folder: Path) -> None:
    """Run the demo with its files in `folder`."""
    target = f"127.0.0.1:{free_port()}"
    database, ledger = f"sqlite:///{folder / 'shop.db'}", f"sqlite:///{folder / 'jobledger.db'}"
    server = Victim(stack, [BIN / "jobledger-server", "serve", "--database", ledger, "--listen", target])
    shop = Victim(stack, [sys.executable, "-m", "examples.outbox.shop", database, ORDERS])
    relay = Victim(stack, [BIN / "jobledger", "outbox", "relay", "--database", database, "--target", target])
    say(f"A shop takes {ORDERS} orders; three in ten are rolled back. The shop, its relay and the server are killed.")
    kill_them(shop, relay, server)
    engine = create_engine(database)
    wait_for_relay(engine, relay)
    check(engine, target)
    engine.dispose()


if __name__ == "__main__":
    main()
