"""A server that speaks S3 (moto) on a port, with faults: throttled, reset, damaged, refused."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from support.process import environment

Answer = Iterable[bytes]
Fault = Callable[["S3Server", dict[str, Any], Callable[..., Any]], Answer | None]

_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test-id",
    "AWS_SECRET_ACCESS_KEY": "test-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


class S3Server:
    """One server with one bucket, `assets`."""

    def __init__(self) -> None:
        """Nothing is served yet."""
        self.app = DomainDispatcherApplication(create_backend_app)
        self.fault: Fault | None = None
        #: Method and path of every request.
        self.requests: list[tuple[str, str]] = []
        self.address = ""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Answer:
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        fault = self.fault
        if fault is not None:
            answer = fault(self, environ, start_response)
            if answer is not None:
                return answer
        return self.app(environ, start_response)

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.address,
            region_name="us-east-1",
            aws_access_key_id="test-id",
            aws_secret_access_key="test-secret",
        )

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a program that has credentials for this server."""
        return environment(**{"AWS_ENDPOINT_URL": self.address, **_CREDENTIALS, **more})

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Every object of the bucket."""
        client, found = self.client, {}
        for page in client.get_paginator("list_objects_v2").paginate(
            Bucket="assets", Prefix=prefix
        ):
            for entry in page.get("Contents", []):
                body = client.get_object(Bucket="assets", Key=entry["Key"])["Body"]
                found[entry["Key"]] = body.read()
        return found

    def change(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket="assets", Key=key, Body=data)

    def puts(self) -> int:
        """How often a clip was put in one piece."""
        return sum(m == "PUT" and path.endswith(".mp4") for m, path in self.requests)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A running server; its state is gone with it."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = S3Server()
    served = make_server("127.0.0.1", 0, server, threaded=True)
    server.address = f"http://127.0.0.1:{served.server_port}"
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    try:
        server.client.create_bucket(Bucket="assets")
        yield server
    finally:
        server.fault = None
        if server.address:
            reset = server.address + "/moto-api/reset"
            import urllib.request

            urllib.request.urlopen(urllib.request.Request(reset, method="POST")).close()
        served.shutdown()
        served.server_close()
        thread.join(5)


def is_clip(environ: dict[str, Any]) -> bool:
    """Whether a request puts a clip."""
    return environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith(".mp4")


def times(count: int, fault: Fault) -> Fault:
    """The fault on the first so many clips."""
    left = iter(range(count))
    lock = threading.Lock()

    def some(server: S3Server, environ: dict[str, Any], start: Callable[..., Any]) -> Answer | None:
        with lock:
            hit = is_clip(environ) and next(left, None) is not None
        return fault(server, environ, start) if hit else None

    return some


def _body(environ: dict[str, Any]) -> bytes:
    """What is sent; without its length, the end would be that of the connection."""
    return bytes(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))


def error(status: str, code: str) -> Fault:
    """An answer of S3 that refuses."""

    def refuse(_server: S3Server, environ: dict[str, Any], start: Callable[..., Any]) -> Answer:
        _body(environ)
        body = f"<Error><Code>{code}</Code><Message>{code} of the test</Message></Error>".encode()
        start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]

    return refuse


def reset(_server: S3Server, environ: dict[str, Any], _start: Callable[..., Any]) -> Answer | None:
    """The connection breaks in the middle of the body."""
    environ["wsgi.input"].read(1000)
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return None


def damage(_server: S3Server, environ: dict[str, Any], _start: Callable[..., Any]) -> None:
    """What arrives is not what was sent, and the store does not notice."""
    body = bytearray(_body(environ))
    middle = len(body) // 2
    body[middle] ^= 0xFF
    environ["wsgi.input"] = BytesIO(bytes(body))
    environ["CONTENT_LENGTH"] = str(len(body))
