"""A real server that speaks S3, for stores that would else be in a cloud."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch
from uuid import uuid4

import httpx
from moto.server import ThreadedMotoServer


class S3Server:
    """An S3 on a port of its own."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)

    def start(self) -> None:
        """Start, and return when it takes requests."""
        # It would tell of each request, between the lines of the test that failed.
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        host, port = self._server.get_host_and_port()
        return f"http://{host}:{port}"

    @property
    def environ(self) -> dict[str, str]:
        """What an operator sets for it."""
        return {
            "AWS_ACCESS_KEY_ID": "memo",
            "AWS_SECRET_ACCESS_KEY": "memo",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT": self.url,
        }

    @contextmanager
    def bucket(self) -> Iterator[str]:
        """The BLOB_URL of a new bucket, with the environment that finds it."""
        name = f"test-{uuid4().hex}"
        httpx.put(f"{self.url}/{name}").raise_for_status()
        with patch.dict(os.environ, self.environ):
            yield f"s3://{name}/files"
