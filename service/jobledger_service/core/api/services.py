"""The services to which several parts of the server add methods."""

from typing import Final

from jobledger.v1 import admin_service_pb2, job_service_pb2, worker_service_pb2

JOB_SERVICE: Final = job_service_pb2.DESCRIPTOR.services_by_name["JobService"]
WORKER_SERVICE: Final = worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"]
ADMIN_SERVICE: Final = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"]
