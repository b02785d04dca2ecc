# An S3-speaking store for one machine: OpenStack Swift with its S3 door, out of Debian's packages. One replica, one
# disk: /data. It checks signatures, expiry of links and multipart uploads as S3 does.
#
# Environment: S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY, S3_BUCKET (made at the start). Port 8333.
# Runs as user 10001 with a read-only root; /data and /tmp are written to. Larger installations take a store of their
# own: divisi needs nothing of this one but S3.
ARG DEBIAN_IMAGE=docker.io/library/debian:bookworm-20251103-slim
FROM ${DEBIAN_IMAGE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        memcached swift-account swift-container swift-object swift-proxy python3-boto3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log /etc/swift /var/cache/swift \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin store \
    && ln -s /tmp/swift /etc/swift && ln -s /tmp/swift-cache /var/cache/swift \
    && mkdir /data && chown 10001:10001 /data
COPY store.py /opt/store.py
ENV HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
VOLUME /data
EXPOSE 8333
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-IS", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8333/healthcheck', timeout=4)"]
ENTRYPOINT ["python3", "/opt/store.py"]
