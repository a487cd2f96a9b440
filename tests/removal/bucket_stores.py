"""Stores of buckets to delete in: servers that speak as those of Amazon and Google do, each a process of its own."""

import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.config import Config
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from examples.image_crawler.broker import free_port
from tests.support.bounds import BOUND

TRIES = 100  # while it starts


class BucketStore(ABC):
    """Keeps its objects in memory: what it held is gone when it is killed."""

    scheme = ""

    def __init__(self, directory: Path) -> None:
        self._port = free_port()
        self._log = directory / "store.log"
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]:
        """What a driver has to find in its environment."""

    @abstractmethod
    def command(self, port: int) -> Sequence[str]:
        """Return the command that starts it."""

    @abstractmethod
    def fill(self, bucket: str, *names: str) -> None:
        """Make a bucket, unless it is there, with objects of these names."""

    @abstractmethod
    def names(self, bucket: str) -> set[str]:
        """Return the names of the objects that a bucket has."""

    def start(self) -> None:
        """Start it, without a bucket."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self.command(self._port), stdout=log, stderr=log)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(BOUND)


class S3(BucketStore):
    """moto's server."""

    scheme = "s3"

    @property
    def environment(self) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
        # One attempt of the driver: the attempts that are counted are the service's own.
        return keys | {"AWS_ENDPOINT_URL": self.url, "AWS_MAX_ATTEMPTS": "1"}

    def command(self, port: int) -> Sequence[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]

    def _client(self) -> Any:
        retries = Config(retries={"total_max_attempts": TRIES, "mode": "standard"})
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.url, config=retries, **keys)

    def fill(self, bucket: str, *names: str) -> None:
        client = self._client()
        client.create_bucket(Bucket=bucket)
        for name in names:
            client.put_object(Bucket=bucket, Key=name, Body=b"x")

    def names(self, bucket: str) -> set[str]:
        return {one["Key"] for one in self._client().list_objects_v2(Bucket=bucket).get("Contents", ())}


class Gs(BucketStore):
    """gcp-storage-emulator."""

    scheme = "gs"

    @property
    def environment(self) -> dict[str, str]:
        # The driver else asks for the kind of a bucket at an address that there is no emulator for.
        plain = {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false", "FSSPEC_GS": '{"token": "anon"}'}
        return plain | {"STORAGE_EMULATOR_HOST": self.url}

    def command(self, port: int) -> Sequence[str]:
        emulator = Path(sys.executable).with_name("gcp-storage-emulator")
        return [str(emulator), "start", "-H", "127.0.0.1", "--port", str(port), "--in-memory"]

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=Retry(TRIES, backoff_factor=0.05, backoff_max=0.2)))
            answer = session.request(method, self.url + path, timeout=BOUND, **more)
        assert answer.ok or answer.status_code == requests.codes.conflict, answer.text
        return answer.json()

    def fill(self, bucket: str, *names: str) -> None:
        self._ask("POST", "/storage/v1/b", json={"name": bucket})
        for name in names:
            there = {"uploadType": "media", "name": name}
            self._ask("POST", f"/upload/storage/v1/b/{bucket}/o", params=there, data=b"x")

    def names(self, bucket: str) -> set[str]:
        return {one["name"] for one in self._ask("GET", f"/storage/v1/b/{bucket}/o").get("items", ())}
