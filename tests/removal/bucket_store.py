"""A store of buckets that speaks S3: moto's server, a process of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from examples.image_crawler.broker import free_port

BOUND = 30.0  # seconds to answer, and to end: a bound for what hangs, not a measure
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


class BucketStore:
    """Keeps its objects in memory: what it held is gone when it is killed."""

    def __init__(self, directory: Path) -> None:
        self._port = free_port()
        self._log = directory / "moto.log"
        self.url = f"http://127.0.0.1:{self._port}"
        # One attempt of the driver: the attempts that are counted are the service's own.
        self.environment = KEYS | {"AWS_ENDPOINT_URL": self.url, "AWS_MAX_ATTEMPTS": "1"}
        retries = Config(retries={"total_max_attempts": 100, "mode": "standard"})
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
            config=retries,
        )
        self.start()

    def start(self) -> None:
        """Start it, without a bucket."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(BOUND)

    def fill(self, bucket: str, *names: str) -> None:
        """Make a bucket, unless it is there, with objects of these names."""
        self._client.create_bucket(Bucket=bucket)
        for name in names:
            self._client.put_object(Bucket=bucket, Key=name, Body=b"x")

    def names(self, bucket: str) -> set[str]:
        """Return the names of the objects that a bucket has."""
        return {one["Key"] for one in self._client.list_objects_v2(Bucket=bucket).get("Contents", ())}
