// The details of an error: why, which fields, and when to try again.

import { fileURLToPath } from "node:url";

import grpc from "@grpc/grpc-js";
import protobuf from "protobufjs";

const DETAILS = protobuf.loadSync(fileURLToPath(new URL("error_details.proto", import.meta.url)));
const Status = DETAILS.lookupType("google.rpc.Status");

// Connections that proxies and HTTP/2 reset end with these; the server did not set them when there is no reason.
const RESETS = new Set([grpc.status.CANCELLED, grpc.status.INTERNAL, grpc.status.UNKNOWN]);

// Return what an error of gRPC says; `reason` is empty when it does not come from Jobledger.
export function explain(error) {
  const explained = { code: grpc.status[error.code], message: error.details, reason: "", metadata: {}, fields: {}, retryAfterMs: null };
  const [encoded] = error.metadata?.get("grpc-status-details-bin") ?? [];
  for (const any of encoded ? Status.decode(encoded).details : []) {
    const name = any.type_url.split("/").at(-1);
    const type = DETAILS.root.nested.google.nested.rpc.nested[name.split(".").at(-1)];
    const detail = name.startsWith("google.rpc.") && type ? type.decode(any.value) : null;
    if (name === "google.rpc.ErrorInfo") {
      explained.reason = detail.reason;
      explained.metadata = detail.metadata;
    } else if (name === "google.rpc.BadRequest") {
      explained.fields = Object.fromEntries(detail.fieldViolations.map((one) => [one.field, one.description]));
    } else if (name === "google.rpc.RetryInfo") {
      const { seconds, nanos } = detail.retryDelay;
      explained.retryAfterMs = Number(seconds) * 1_000 + nanos / 1e6;
    }
  }
  return explained;
}

// Whether a call that failed may be made again. One that is not idempotent needs a request_id to be repeated after
// UNAVAILABLE, which does not say whether the first attempt took effect.
export function mayRepeat(error, { idempotent }) {
  const { reason, retryAfterMs } = explain(error);
  const hadNoEffect = reason === "DRAINING" || (error.code === grpc.status.RESOURCE_EXHAUSTED && retryAfterMs !== null);
  return hadNoEffect || (idempotent && error.code === grpc.status.UNAVAILABLE);
}

// Whether a watch that ended so may resume.
export function mayResume(error) {
  return mayRepeat(error, { idempotent: true }) || (RESETS.has(error.code) && !explain(error).reason);
}

// Return how long to wait after so many failures in a row, in ms: half of it random, and not less than the server asks for.
export function backoffMs(failures, error) {
  const full = Math.min(5_000, 100 * 2 ** (failures - 1));
  return Math.max(full / 2, explain(error).retryAfterMs ?? 0) + (full / 2) * Math.random();
}
