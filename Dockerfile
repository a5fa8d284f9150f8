# Two images from one file: `api` has no torch; `worker` has it with CUDA, and runs on CPU as well.
# To build from one exact base: --build-arg PYTHON_IMAGE=python:3.11-slim@sha256:… (docs/deploy.md).
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
# Bytecode is compiled once, when all is in place, and never checked against times that copies change.
# torch brings a module in the syntax of Python 3.12, which nothing imports here.
ENV COMPILE="python -m compileall -q -j 0 -x py312_ --invalidation-mode unchecked-hash"
RUN python -m venv --without-pip /opt/stillhouse

FROM build AS build-api
COPY deploy/requirements-api.txt requirements.txt
RUN python -m pip --python /opt/stillhouse/bin/python install --no-cache-dir --no-compile \
        --disable-pip-version-check --require-hashes --requirement requirements.txt \
    && $COMPILE /opt/stillhouse/lib

FROM build AS build-worker
COPY deploy/requirements-worker.txt requirements.txt
RUN python -m pip --python /opt/stillhouse/bin/python install --no-cache-dir --no-compile \
        --disable-pip-version-check --require-hashes --requirement requirements.txt \
    && $COMPILE /opt/stillhouse/lib

FROM build AS code
COPY alembic.ini ./
COPY migrations migrations
COPY stillhouse stillhouse
COPY core core
COPY app app
COPY worker worker
RUN $COMPILE .

FROM ${PYTHON_IMAGE} AS base
LABEL org.opencontainers.image.title="Stillhouse" \
      org.opencontainers.image.description="Model distillation as a service" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
# The base has no bytecode of the standard library, and a read-only root could never write it: each
# start and each health check would compile it again.
RUN python -m compileall -q -j 0 -x '/(test|tests|idlelib|lib2to3|ensurepip|[a-z]+-packages)/' \
        --invalidation-mode unchecked-hash "$(python -c 'import os; print(os.path.dirname(os.__file__))')"
# A new volume takes its owner from the folder that it is mounted over.
RUN groupadd --gid 10001 stillhouse \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp stillhouse \
    && install -d -o 10001 -g 10001 /data /storage /backup /secrets /secrets/db /secrets/redis \
        /secrets/service /secrets/admin /secrets/metrics /secrets/s3 /secrets/grafana
ENV PATH=/opt/stillhouse/bin:$PATH \
    PYTHONPATH=/srv/stillhouse \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STILLHOUSE_DATA_DIR=/data
WORKDIR /srv/stillhouse
COPY --chmod=755 deploy/stillhouse /usr/local/bin/stillhouse

FROM base AS api
COPY --from=build-api /opt/stillhouse /opt/stillhouse
COPY --from=code /build /srv/stillhouse
ENV STILLHOUSE_AUTH=keys STILLHOUSE_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-ISc", "import socket; s = socket.create_connection(('127.0.0.1', 8000), 3); s.sendall(b'GET /healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n'); raise SystemExit(s.recv(64)[9:12] != b'200')"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]

FROM base AS worker
COPY --from=build-worker /opt/stillhouse /opt/stillhouse
COPY --from=code /build /srv/stillhouse
ENV STILLHOUSE_ALIVE_FILE=/tmp/alive
USER 10001:10001
# Its housekeeping touches the file; asking Celery would start a second worker's worth of Python.
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=4 \
    CMD ["python", "-ISc", "import os, time; raise SystemExit(time.time() - os.stat('/tmp/alive').st_mtime > 60)"]
ENTRYPOINT ["python", "-m", "worker.main"]
