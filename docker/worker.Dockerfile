# syntax=docker/dockerfile:1
# A worker with the engine: the only image that carries torch.

FROM python:3.11.15-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
RUN python -m venv --without-pip /opt/prunery
# On the public index torch==2.13.0 is the CUDA build. For the CPU build: --build-arg TORCH=torch==2.13.0+cpu and
# --build-arg PIP_EXTRA_INDEX_URL=… with PyTorch's index of CPU wheels.
ARG TORCH=torch==2.13.0
ARG PIP_EXTRA_INDEX_URL
# The largest layer, and the one that changes least.
# hadolint ignore=DL3013  # the version is in the argument
RUN pip --python /opt/prunery/bin/python install "$TORCH"
COPY pyproject.toml constraints.txt docker/requirements.py ./
RUN python requirements.py worker < pyproject.toml > requirements.txt \
    && pip --python /opt/prunery/bin/python install --constraint constraints.txt --requirement requirements.txt
COPY . .
RUN pip --python /opt/prunery/bin/python install --no-deps .

FROM python:3.11.15-slim-bookworm
RUN pip uninstall --yes --root-user-action=ignore wheel setuptools pip \
    && useradd --uid 10001 --user-group --home-dir /var/lib/prunery --create-home --shell /usr/sbin/nologin prunery
COPY --from=build /opt/prunery /opt/prunery
ENV PATH=/opt/prunery/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/var/lib/prunery/huggingface \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PRUNERY_PULSE_FILE=/tmp/pulse \
    PRUNERY_WORK_DIR=/var/lib/prunery/work
WORKDIR /var/lib/prunery
USER 10001:10001
VOLUME /var/lib/prunery
# Asking Celery instead would cost seconds of processor time beside a running job, and an answer from the broker.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "-m", "worker.pulse"]
CMD ["celery", "-q", "-A", "worker.main:celery", "worker", "-P", "solo", "-Q", "jobs", "--without-mingle", "--without-gossip", "-l", "INFO", "-n", "worker@%h"]
