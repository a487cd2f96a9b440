"""An outside engine, pretended: a process with slots that takes runs over HTTP, as RunPod and Airflow do."""

import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

TIMEOUT = 10.0


@dataclass(frozen=True)
class Run:
    """One run that the engine was asked for; `stopped` is set when it is to end."""

    run_id: str
    input: dict[str, Any]
    stopped: threading.Event = field(default_factory=threading.Event)


class EngineClient:
    """What the engine offers to others."""

    def __init__(self, url: str) -> None:
        self._url = url

    def run(self, run_input: Mapping[str, object]) -> str:
        """Ask for a run, and return its id."""
        return str(self._post("run", {"input": run_input})["id"])

    def stop(self, run_id: str) -> bool:
        """Ask the engine to stop a run; tell whether it has ended."""
        return bool(self._post(f"stop/{run_id}", {})["ended"])

    def running(self) -> list[str]:
        """Return the ids of the runs that have not ended."""
        return list(self._ask(Request(f"{self._url}/runs"))["ids"])  # noqa: S310  it is http

    def _post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        return self._ask(Request(f"{self._url}/{path}", json.dumps(body).encode()))  # noqa: S310  it is http

    def _ask(self, request: Request) -> dict[str, Any]:
        with urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310  it is http
            reply: dict[str, Any] = json.load(answer)
            return reply


def serve(name: str, work: Callable[[Run], None], slots: int) -> None:
    """Print the engine's URL, and call `work` for each run, as many at once as there are slots, until SIGTERM."""
    runs: dict[str, tuple[Run, Future[None]]] = {}
    pool = ThreadPoolExecutor(slots)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take a run, or stop one."""
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            verb, _, run_id = self.path.strip("/").partition("/")
            if verb == "run":
                run = Run(f"{name}-{uuid4().hex[:12]}", body["input"])
                runs[run.run_id] = run, pool.submit(work, run)
                self._answer({"id": run.run_id})
            else:
                self._answer({"ended": stop(run_id)})

        def do_GET(self) -> None:
            """Tell which runs have not ended."""
            self._answer({"ids": [run.run_id for run, ended in list(runs.values()) if not ended.done()]})

        def _answer(self, body: Mapping[str, object]) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002  its name there
            """Say nothing."""

    def stop(run_id: str) -> bool:
        run, ended = runs[run_id]
        run.stopped.set()
        ended.cancel()  # if it has no slot yet
        try:
            ended.exception(TIMEOUT / 2)
        except TimeoutError:
            return False
        except CancelledError:
            pass
        return True

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"serving on http://127.0.0.1:{web.server_port}", flush=True)
    web.serve_forever()
