# Stands in for docker-compose.yml's Redis image on machines that reach a Debian mirror but no registry (build.sh).
ARG DEBIAN_IMAGE=docker.io/library/debian:bookworm-20251103-slim
FROM ${DEBIAN_IMAGE}
RUN apt-get update && apt-get install --yes --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log \
    && mkdir /data && chown 999:999 /data
VOLUME /data
EXPOSE 6379
USER 999:999
CMD ["redis-server"]
