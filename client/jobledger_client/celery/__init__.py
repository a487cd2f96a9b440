"""Celery runs the chunks, and the ledger stays the truth: the extra `celery` of the SDK.

```python
app = Celery("crawler", broker="redis://localhost")
chunks = ChunkTasks(app, "127.0.0.1:7070")


@chunks.task("crawl.images")
def crawl(ctx): ...
```

A worker is `celery -A crawler worker`, as usual. `chunks.dispatcher().run()` is one more process: it sends Celery a
task for each pending chunk.
"""

try:
    import celery as _celery
except ModuleNotFoundError as missing:
    advice = "jobledger_client.celery needs Celery: pip install 'jobledger-client[celery]'"
    raise ModuleNotFoundError(advice) from missing

from jobledger_client.celery._dispatching import CeleryDispatcher
from jobledger_client.celery._tasks import ChunkTasks

__all__ = ["CeleryDispatcher", "ChunkTasks"]

CeleryDispatcher.__module__ = ChunkTasks.__module__ = __name__

del _celery
