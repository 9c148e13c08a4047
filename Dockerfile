# One image for every process; the command says which. `--target sandbox` adds the pretend Salesforce.
FROM python:3.13.7-slim-bookworm AS build
WORKDIR /srv/fairturn
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements.lock pyproject.toml bin/dev-packages ./
# The one lock holds the tools of development too; what the product does not need is taken out again.
RUN python -m venv .venv \
 && .venv/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock \
 && .venv/bin/python dev-packages pyproject.toml > dev.txt \
 && .venv/bin/python -m pip uninstall --quiet --yes -r dev.txt \
 && .venv/bin/python -m pip uninstall --quiet --yes pip \
 && .venv/bin/python -m compileall -q .venv

FROM python:3.13.7-slim-bookworm AS fairturn
RUN useradd --system --uid 10001 --no-create-home --home-dir /srv/fairturn fairturn \
 && mkdir -p /var/lib/fairturn \
 && chown fairturn /var/lib/fairturn
WORKDIR /srv/fairturn
COPY --from=build /srv/fairturn/.venv .venv
COPY routing routing
COPY gateways gateways
COPY storage storage
COPY config config
COPY tasks tasks
COPY workers workers
COPY web web
COPY LICENSE ./
RUN printf '#!/bin/sh\nexec /srv/fairturn/.venv/bin/python -c "import sys; sys.argv[0] = '"'fairturn'"'; from workers.cli import main; main()" "$@"\n' \
      > /usr/local/bin/fairturn \
 && chmod 755 /usr/local/bin/fairturn
ENV PATH=/srv/fairturn/.venv/bin:$PATH \
    PYTHONPATH=/srv/fairturn \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FAIRTURN_DATA_DIR=/var/lib/fairturn \
    FAIRTURN_WEB_HOST=0.0.0.0 \
    FAIRTURN_FLOWER_HOST=0.0.0.0
USER fairturn
VOLUME /var/lib/fairturn
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "uvicorn", "--factory", "web.main:app", "--host", "0.0.0.0", "--port", "8000", "--no-access-log", "--no-server-header", "--timeout-graceful-shutdown", "3"]

FROM fairturn AS sandbox
COPY sandbox sandbox
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=6 \
  CMD ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 7011), timeout=4)"]
CMD ["python", "-m", "sandbox", "--http-port", "8080", "--https-port", "8443", "--grpc-port", "7011", "--grpc-tls-port", "7443", "--ca-out", "/var/lib/fairturn/sandbox-ca.pem", "--state", "/var/lib/fairturn/sandbox-org.json"]

# The last stage is what a plain `docker build .` makes.
FROM fairturn
