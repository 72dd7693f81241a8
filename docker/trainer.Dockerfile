# The trainer: Python, torch for the machine at hand, the locked packages and `trainer/`. vLLM is not in it.
#
# TORCH_INDEX says where torch comes from:
#   a URL          a package index. The default is PyTorch's nightly for CUDA 13, which has kernels for GB10 (sm_121).
#   cu130, cu126…  PyTorch's stable release for that CUDA, by the name uv knows its index by. A driver of CUDA 12.4
#                  runs cu126, because CUDA 12 releases run on each other's drivers; take ubuntu:24.04 as BASE_IMAGE
#                  then, as NVIDIA's CUDA 13 images refuse older drivers. torch brings its own CUDA libraries.
#   cpu            PyTorch's stable release for machines without a GPU.
#   wheels         the folder given as build context `wheels` (WHEELHOUSE), for machines that reach no such index.
#
# The base is any Debian or Ubuntu with Python 3.11 or newer.
ARG BASE_IMAGE=nvidia/cuda:13.0.2-base-ubuntu24.04


# What the trainer needs at run time. Triton compiles kernels while training: a C compiler and Python's headers.
FROM ${BASE_IMAGE} AS base
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates gcc libc6-dev python3 python3-dev \
 && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1


FROM base AS packages
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/*
ARG UV=uv==0.13.9
ENV UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    UV_HTTP_TIMEOUT=300 \
    VIRTUAL_ENV=/opt/venv
RUN --mount=type=secret,id=ca_bundle \
    if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi; \
    python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check "$UV" \
 && /opt/uv/bin/uv venv --python /usr/bin/python3 /opt/venv

ARG TORCH_INDEX=https://download.pytorch.org/whl/nightly/cu130
ARG TORCH="torch>=2.8"
RUN --mount=type=secret,id=ca_bundle \
    --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/uv \
    if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi; \
    case "$TORCH_INDEX" in \
        http*)  set -- --prerelease allow --index-url "$TORCH_INDEX" ;; \
        wheels) set -- --find-links /wheels ;; \
        *)      set -- --torch-backend "$TORCH_INDEX" ;; \
    esac; \
    /opt/uv/bin/uv pip install "$@" "$TORCH"

COPY requirements.lock /tmp/
RUN --mount=type=secret,id=ca_bundle \
    --mount=type=cache,target=/root/.cache/uv \
    if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi; \
    /opt/uv/bin/uv pip install --no-deps --requirement /tmp/requirements.lock


FROM base AS trainer
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY trainer/ trainer/

# Any user id may run it: the caches of Hugging Face, Triton and torch lie in one folder that all can write, and the
# user has a name without an entry in /etc/passwd. A checkout of umask 077 is only its owner's to read, a copy is not.
RUN chmod -R a+rX trainer && mkdir -p data outputs /cache && chmod 755 . data outputs && chmod 1777 /cache
ENV HOME=/cache \
    USER=trainer \
    HF_HOME=/cache/huggingface \
    TRITON_CACHE_DIR=/cache/triton \
    TORCHINDUCTOR_CACHE_DIR=/cache/inductor \
    HF_HUB_DISABLE_TELEMETRY=1 \
    DO_NOT_TRACK=1 \
    SDFT_REPORT_TO=tensorboard \
    PYTHONPATH=/app

USER 1000:1000
RUN python -c "import importlib.util, torch, transformers, trl, trainer; \
assert importlib.util.find_spec('vllm') is None, 'vllm is installed, and the trainer only talks to it over HTTP'; \
print('torch', torch.__version__, '| transformers', transformers.__version__, '| trl', trl.__version__)" \
 && python -m trainer --help >/dev/null

# Every run directory tells which commit it was made with: GIT_COMMIT=$(git rev-parse HEAD) docker compose build
ARG GIT_COMMIT=
ENV GIT_COMMIT=$GIT_COMMIT
LABEL org.opencontainers.image.title="Self-Distillation trainer" \
      org.opencontainers.image.description="Self-Distillation Fine-Tuning of a small model with a served teacher" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision=$GIT_COMMIT
ENTRYPOINT ["python", "-m", "trainer"]
CMD ["train"]
