"""Between Jobledger and an engine: `python -m examples.engine_link TARGET ENGINE_URL KIND`.

It gives the engine a run for each chunk, and stops the runs of jobs that are to stop. It keeps nothing: kill it, start
two of it, nothing is lost or done twice.
"""

import asyncio
import signal
import sys

from jobledger.v1.chunk_pb2 import Chunk
from jobledger.v1.job_pb2 import Job
from jobledger_client import CancelBridge, Dispatcher, TaskToStop

from .engine import EngineClient


async def link(target: str, engine_url: str, kind: str) -> None:
    """Serve until SIGTERM."""
    engine = EngineClient(engine_url)

    def push(job: Job, chunk: Chunk) -> str:
        return engine.run({"job_id": job.job_id, "chunk_index": chunk.index})

    def stop_task(task: TaskToStop) -> bool:
        return engine.stop(task.task_id)

    dispatcher = Dispatcher(target, kinds=[kind], push=push, withdraw=engine.stop)
    bridge = CancelBridge(target, kinds=[kind], stop_task=stop_task)

    def stop() -> None:
        dispatcher.stop()
        bridge.stop()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    await asyncio.gather(dispatcher.serve(), bridge.serve())


if __name__ == "__main__":
    asyncio.run(link(*sys.argv[1:]))
