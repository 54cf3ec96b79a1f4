# syntax=docker/dockerfile:1
# The API, the relay and the migrations: all of Prunery but the engine's libraries.

FROM python:3.11.15-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
RUN python -m venv --without-pip /opt/prunery
COPY pyproject.toml constraints.txt docker/requirements.py ./
RUN python requirements.py api < pyproject.toml > requirements.txt \
    && pip --python /opt/prunery/bin/python install --constraint constraints.txt --requirement requirements.txt
COPY . .
RUN pip --python /opt/prunery/bin/python install --no-deps .

FROM python:3.11.15-slim-bookworm
RUN pip uninstall --yes --root-user-action=ignore wheel setuptools pip \
    && useradd --uid 10001 --user-group --home-dir /var/lib/prunery --create-home --shell /usr/sbin/nologin prunery
COPY --from=build /opt/prunery /opt/prunery
ENV PATH=/opt/prunery/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    UVICORN_HOST=0.0.0.0 \
    UVICORN_PORT=8000
WORKDIR /var/lib/prunery
USER 10001:10001
EXPOSE 8000
# Whether the process answers, not whether the database does: that would have an orchestrator restart the API in vain.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "-c", "import os, http.client as http; c = http.HTTPConnection('127.0.0.1', int(os.environ['UVICORN_PORT']), timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["uvicorn", "app.main:create_app", "--factory", "--timeout-graceful-shutdown", "20"]
