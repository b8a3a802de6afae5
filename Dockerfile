# syntax=docker/dockerfile:1
# Two small images from one file: `api` (REST and gRPC, no torch, no Ray) and `worker` (dispatcher and Ray nodes, with both).
#   docker build --target api -t asktell-api .
#   docker build --target worker -t asktell-worker .
# A package index of your own comes in as a secret that no layer keeps:
#   docker build --secret id=pip,src=$HOME/.config/pip/pip.conf ...
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/asktell
ENV PATH=/opt/asktell/bin:$PATH
WORKDIR /src
COPY constraints.txt pyproject.toml README.md ./
COPY sdk sdk
COPY services services
COPY api api
COPY workers workers
COPY migrations migrations

FROM build AS build-api
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    pip install -c constraints.txt './sdk[grpc]' .

FROM build AS build-worker
# The index of torch decides between CPU and CUDA; give `--build-arg TORCH_INDEX=...` for a GPU build or a CPU-only index.
ARG TORCH_INDEX=
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    pip install -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    pip install -c constraints.txt './sdk[grpc]' '.[workers]'

FROM python:${PYTHON}-slim AS base
RUN groupadd --gid 10001 asktell && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin asktell
ENV PATH=/opt/asktell/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
WORKDIR /home/asktell
USER 10001:10001

FROM base AS api
COPY --from=build-api /opt/asktell /opt/asktell
ENV ASKTELL_HOST=0.0.0.0 ASKTELL_WORKERS=none
EXPOSE 8000 50051
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["asktell"]
CMD ["serve"]

FROM base AS worker
COPY --from=build-worker /opt/asktell /opt/asktell
ENV RAY_USAGE_STATS_ENABLED=0 ASKTELL_METRICS_HOST=0.0.0.0
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9464/healthz', timeout=4)"]
ENTRYPOINT ["asktell"]
CMD ["worker"]
