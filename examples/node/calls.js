// Calls that return promises, with a deadline, and with safe repeats.

import { setTimeout as sleep } from "node:timers/promises";

import { backoffMs, mayRepeat } from "./errors.js";

// Call a method and return its answer; raises the last error when the deadline is too near for another attempt.
export async function call(client, method, request, { timeoutMs = 10_000, idempotent = true } = {}) {
  const deadline = Date.now() + timeoutMs;
  for (let failures = 1; ; failures += 1) {
    try {
      return await new Promise((resolve, reject) => {
        client[method](request, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
      });
    } catch (error) {
      const wait = backoffMs(failures, error);
      if (!mayRepeat(error, { idempotent }) || Date.now() + wait >= deadline) throw error;
      await sleep(wait);
    }
  }
}

// Yield the jobs of a list, page by page.
export async function* listJobs(client, request) {
  let token = "";
  do {
    const page = await call(client, "ListJobs", { ...request, page_token: token });
    yield* page.jobs;
    token = page.next_page_token;
  } while (token);
}
