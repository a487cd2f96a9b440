// node jobs.js TARGET create KIND REQUEST_ID | get JOB_ID | list KIND | watch JOB_ID [CURSOR]
// Each line of the output is JSON. An error is one line on standard error, and exit status 1.

import { call, listJobs } from "./calls.js";
import { connect, JobService } from "./connection.js";
import { explain } from "./errors.js";
import { fromStruct, toStruct } from "./structs.js";
import { watchJob } from "./watch.js";

const COMMANDS = {
  // The same request_id makes one job, however often it is sent.
  async *create(client, kind, requestId) {
    const request = { kind, request_id: requestId, item_count: 10, input: toStruct({ from: "node", sizes: [1, 2.5, null] }) };
    const { job, created } = await call(client, "CreateJob", request);
    yield { job_id: job.job_id, created };
  },
  async *get(client, jobId) {
    const { job } = await call(client, "GetJob", { job_id: jobId, view: "JOB_VIEW_DETAIL" });
    yield { job_id: job.job_id, state: job.state, input: fromStruct(job.input) };
  },
  async *list(client, kind) {
    for await (const job of listJobs(client, { filter: { kinds: [kind] }, page_size: 2 })) yield { job_id: job.job_id, state: job.state };
  },
  async *watch(client, jobId, cursor = "") {
    const request = { job_id: jobId, mode: "WATCH_MODE_EVERY", cursor: Buffer.from(cursor, "base64") };
    for await (const { type, job, cursor } of watchJob(client, request)) {
      yield { type, revision: job.revision, state: job.state, percent: job.progress.percent, cursor: cursor.toString("base64") };
    }
  },
};

const [target, command, ...rest] = process.argv.slice(2);
const client = connect(JobService, target, { key: process.env.JOBLEDGER_API_KEY });
try {
  for await (const answer of COMMANDS[command](client, ...rest)) console.log(JSON.stringify(answer));
} catch (error) {
  console.error(JSON.stringify(error.code === undefined ? { message: String(error) } : explain(error)));
  process.exitCode = 1;
} finally {
  client.close();
}
