// Connect to Jobledger: the services of the contract, and the options of a channel.

import { fileURLToPath } from "node:url";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const PROTOS = process.env.JOBLEDGER_PROTOS ?? fileURLToPath(new URL("../../protos", import.meta.url));

// Names as in the contract; 64-bit integers as strings, which lose nothing; enums by name.
const LOADED = protoLoader.loadSync(["jobledger/v1/job_service.proto", "jobledger/v1/worker_service.proto"], {
  includeDirs: [PROTOS],
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
});

export const { JobService, WorkerService } = grpc.loadPackageDefinition(LOADED).jobledger.v1;

export const OPTIONS = {
  // Finds a connection that died silently while a call or a watch is open. The server ends connections that ask more
  // often than every 10 s ("too_many_pings").
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  // By default it takes up to two minutes to reconnect to a server that was started again.
  "grpc.initial_reconnect_backoff_ms": 200,
  "grpc.max_reconnect_backoff_ms": 2_000,
  // A job with many chunks may be larger than the default of 4 MiB; the server bounds its answers.
  "grpc.max_receive_message_length": -1,
  // For dns:///NAME:PORT, which has an address for each replica.
  "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
};

// Return a client of a service. With a key, an address of another host needs `credentials` of TLS: grpc.credentials.createSsl().
export function connect(Service, target, { credentials = grpc.credentials.createInsecure(), key = "" } = {}) {
  const authorize = (options, next) =>
    new grpc.InterceptingCall(next(options), {
      start(metadata, listener, start) {
        metadata.set("authorization", `Bearer ${key}`);
        start(metadata, listener);
      },
    });
  return new Service(target, credentials, { ...OPTIONS, interceptors: key ? [authorize] : [] });
}
