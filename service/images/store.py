"""Starts the one-machine store inside its image: writes Swift's files, starts its servers, makes the bucket, watches.

Ends when one of the servers ends, and ends them all on SIGTERM. The health check answers once the bucket is there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

PORT = 8333
PORTS = {"object": 6200, "container": 6201, "account": 6202}
DATA = Path("/data")
FOLDER = Path("/tmp/swift")  # /etc/swift leads here
# While this is there, the health check says no.
STARTING = FOLDER / "starting"
START_SECONDS = 60
# Objects are stored once, on one device, so rings of one partition do.
PARTITION_POWER, REPLICAS, MIN_PART_HOURS = 0, 1, 1

PROXY = """
[DEFAULT]
bind_ip = 0.0.0.0
bind_port = {port}
workers = 2
log_level = WARNING
[pipeline:main]
pipeline = catch_errors healthcheck proxy-logging cache listing_formats bulk s3api tempauth slo dlo copy proxy-logging \
proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:healthcheck]
use = egg:swift#healthcheck
disable_path = {starting}
[filter:proxy-logging]
use = egg:swift#proxy_logging
access_log_level = WARNING
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:11211
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = {region}
dns_compliant_bucket_names = true
[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{user} = {secret} .admin
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:copy]
use = egg:swift#copy
"""

SERVER = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
devices = /data
mount_check = false
workers = 0
log_level = WARNING
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""


def write_files(access_key: str, secret: str, region: str) -> None:
    """Swift's configuration; the access key is `ACCOUNT:USER`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    STARTING.touch()
    Path("/tmp/swift-cache").mkdir(exist_ok=True)
    (FOLDER / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = divisi\n")
    account, _, user = access_key.partition(":")
    values = {"port": PORT, "region": region, "account": account, "user": user, "secret": secret, "starting": STARTING}
    (FOLDER / "proxy-server.conf").write_text(PROXY.format(**values))
    for name, port in PORTS.items():
        (FOLDER / f"{name}-server.conf").write_text(SERVER.format(name=name, port=port))
        builder = str(FOLDER / f"{name}.builder")
        numbers = map(str, (PARTITION_POWER, REPLICAS, MIN_PART_HOURS))
        for arguments in (["create", *numbers], ["add", f"r1z1-127.0.0.1:{port}/disk", "1"], ["rebalance"]):
            subprocess.run(["swift-ring-builder", builder, *arguments], check=True, stdout=subprocess.DEVNULL)
    (DATA / "disk").mkdir(exist_ok=True)


def make_bucket(bucket: str, access_key: str, secret: str, region: str) -> None:
    """Makes the bucket through the S3 door, as soon as that answers."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    s3 = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{PORT}",
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
    )
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            s3.create_bucket(Bucket=bucket)
            return
        except s3.exceptions.BucketAlreadyOwnedByYou:
            return
        except (BotoCoreError, ClientError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def main() -> int:
    access_key, secret = os.environ["S3_ACCESS_KEY_ID"], os.environ["S3_SECRET_ACCESS_KEY"]
    region, bucket = os.environ.get("S3_REGION", "us-east-1"), os.environ["S3_BUCKET"]
    write_files(access_key, secret, region)
    commands = [["memcached", "-l", "127.0.0.1", "-m", "32", "-U", "0"]]
    commands += [[f"swift-{name}-server", str(FOLDER / f"{name}-server.conf")] for name in (*PORTS, "proxy")]
    servers = [subprocess.Popen(command) for command in commands]

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    make_bucket(bucket, access_key, secret, region)
    STARTING.unlink()
    while not stopping.wait(0.5) and all(server.poll() is None for server in servers):
        pass
    for server in servers:
        server.terminate()
    return 0 if stopping.is_set() else 1


if __name__ == "__main__":
    sys.exit(main())
