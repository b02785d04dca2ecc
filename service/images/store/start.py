"""Starts the one-machine store inside its image: puts the keys in, starts Swift's servers, makes the bucket, watches.

Ends when one of the servers ends, and ends them all on SIGTERM. The health check says no until the bucket is there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

ENDPOINT = "http://127.0.0.1:8333"
CONFIGURATION = Path("/etc/swift")
DISK = Path("/data/disk")
CACHE = Path("/tmp/swift-cache")
# While this is there, the health check says no.
STARTING = Path("/tmp/starting")
START_SECONDS = 300


def main() -> int:
    access_key, secret = os.environ["S3_ACCESS_KEY_ID"], os.environ["S3_SECRET_ACCESS_KEY"]
    region, bucket = os.environ.get("S3_REGION", "us-east-1"), os.environ["S3_BUCKET"]
    account, colon, user = access_key.partition(":")
    if not colon:
        sys.exit("S3_ACCESS_KEY_ID must look like ACCOUNT:USER")
    for folder in (DISK, CACHE):
        folder.mkdir(exist_ok=True)
    STARTING.touch()
    template = (CONFIGURATION / "proxy-server.conf").read_text()
    values = {"account": account, "user": user, "secret": secret, "region": region, "starting": STARTING}
    proxy = Path("/tmp/proxy-server.conf")
    proxy.touch(mode=0o600)
    proxy.write_text(template.format(**values))

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    commands = [["memcached", "-l", "127.0.0.1", "-m", "32", "-U", "0"], ["swift-proxy-server", str(proxy)]]
    for name in ("account", "container", "object"):
        commands.append([f"swift-{name}-server", str(CONFIGURATION / f"{name}-server.conf")])
    servers = [subprocess.Popen(command) for command in commands]
    if make_bucket(bucket, access_key, secret, region, stopping):
        STARTING.unlink()
        while not stopping.wait(0.5) and all(server.poll() is None for server in servers):
            pass
    for server in servers:
        server.terminate()
    return 0 if stopping.is_set() else 1


def make_bucket(bucket: str, access_key: str, secret: str, region: str, stopping: threading.Event) -> bool:
    """Makes the bucket through the S3 door, as soon as that answers; False when it is told to stop before."""
    keys = {"aws_access_key_id": access_key, "aws_secret_access_key": secret, "region_name": region}
    s3 = boto3.client("s3", endpoint_url=ENDPOINT, **keys)
    deadline = time.monotonic() + START_SECONDS
    while not stopping.wait(0.2):
        try:
            s3.create_bucket(Bucket=bucket)
        except s3.exceptions.BucketAlreadyOwnedByYou:
            return True
        except (BotoCoreError, ClientError):
            if time.monotonic() > deadline:
                raise
        else:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
