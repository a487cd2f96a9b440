// A watch that resumes from its last cursor: over restarts, replicas and broken connections.

import { setTimeout as sleep } from "node:timers/promises";

import { backoffMs, mayResume } from "./errors.js";

const ENDED = new Set(["JOB_STATE_COMPLETED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"]);
const BOOKMARK = "WATCH_MESSAGE_TYPE_BOOKMARK";

// Yield the messages of one job, in order and each once, until the job has ended. Keep `message.cursor` to go on later. Raises
// the error of a cursor that no longer works (HISTORY_TRIMMED, FOREIGN_CURSOR, HISTORY_LOST): then watch without one.
export async function* watchJob(client, request, { reconnectMs = 5 * 60_000 } = {}) {
  let { cursor = Buffer.alloc(0) } = request;
  let failures = 0;
  let since = Date.now();
  for (;;) {
    const stream = client.WatchJob({ ...request, cursor });
    let isPast = true; // bookmarks alone, then OK: the cursor was past the end of the job
    try {
      for await (const message of stream) {
        failures = 0;
        if (message.cursor.length) cursor = message.cursor;
        if (message.type === BOOKMARK) continue;
        isPast = false;
        yield message;
        if (message.type === "WATCH_MESSAGE_TYPE_DELETED" || ENDED.has(message.job.state)) return;
      }
      if (isPast) return;
    } catch (error) {
      if (!mayResume(error)) throw error;
      if (failures === 0) since = Date.now();
      failures += 1;
      const wait = backoffMs(failures, error);
      if (Date.now() + wait > since + reconnectMs) throw error;
      await sleep(wait);
    } finally {
      stream.cancel();
    }
  }
}
