"""A name server that does not answer delays those alone whose names it has, and not the end of the process."""

import asyncio
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest
from jobledger_service.features.webhooks.addresses import NameLookups

from tests.support.bounds import BOUND, within

SILENT = 50
"""More than the threads that an event loop has for all names."""


class Names:
    """A resolver that keeps silent over names that begin so, until it is let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let_go = threading.Event()

    def __call__(self, host: str, port: int, **_: Any) -> Any:
        self.asked.append(host)
        if host.startswith("silent"):
            self.let_go.wait(BOUND)
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]


@pytest.mark.guarantee("3b.5")
async def test_names_that_nobody_answers_for_keep_no_other_name_waiting():
    names = Names()
    lookups = NameLookups(SILENT + 1, names)
    silent = [asyncio.ensure_future(lookups(f"silent-{n}.example", 443)) for n in range(SILENT)]
    assert await within(lookups("receiver.example", 443)) == ["192.0.2.1"]
    assert not any(one.done() for one in silent)
    names.let_go.set()
    ended = await asyncio.gather(*silent, return_exceptions=True)
    assert {type(one) for one in ended} == {socket.gaierror}


async def test_a_name_that_is_looked_up_already_takes_no_further_thread():
    names = Names()
    lookups = NameLookups(1, names)
    first, second = (asyncio.ensure_future(lookups("silent.example", 443)) for _ in range(2))
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="too many names"):
        await lookups("other.example", 443)
    first.cancel()  # an attempt whose time is over ends the other's look-up no more than its own
    names.let_go.set()
    with pytest.raises(socket.gaierror):
        await second
    assert names.asked == ["silent.example"]
    assert await lookups("other.example", 443) == ["192.0.2.1"]


def test_the_end_of_a_process_waits_for_no_name():
    program = f"""
import asyncio, threading, uvloop
from jobledger_service.features.webhooks.addresses import NameLookups

async def main():
    lookups = NameLookups(9, lambda *_, **__: threading.Event().wait({10 * BOUND}))
    try:
        async with asyncio.timeout(0.01):
            await lookups("silent.example", 443)
    except TimeoutError:
        print("gave up")

uvloop.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=BOUND)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("gave up\n", "", 0)
