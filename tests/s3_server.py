"""An S3 server on loopback: in this process, or as one of its own."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator

SECRET = "pl4nted-s3cret-access-key"


@contextlib.contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Yield the environment that leads to it; it has one bucket, `bucket`."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        boto3.client(
            "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="ann",
            aws_secret_access_key=SECRET,
        ).create_bucket(Bucket="bucket")  # fmt: skip
        yield {
            "AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "ann", "AWS_REGION": "us-east-1",
            "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
    finally:
        server.stop()


def main() -> None:
    """Serve until the process is killed; print the environment that leads here."""
    with s3_server() as variables:
        print(json.dumps(variables), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
