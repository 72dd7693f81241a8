# A teacher for machines without a GPU: vLLM's own code built for the CPU, behind the same command line and port as the
# GPU image. Meant for the tiny teacher of data/tiny_world on a laptop or in CI.
#
# TORCH_INDEX: `cpu` takes torch from PyTorch's index of CPU builds, `wheels` from the build context `wheels` (WHEELHOUSE).
ARG BASE_IMAGE=debian:bookworm-slim


FROM ${BASE_IMAGE} AS base
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates libnuma1 python3 \
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

ARG TORCH_INDEX=cpu
ARG TORCH=torch==2.13.0
RUN --mount=type=secret,id=ca_bundle \
    --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/uv \
    if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi; \
    case "$TORCH_INDEX" in \
        wheels) set -- --find-links /wheels ;; \
        *)      set -- --torch-backend "$TORCH_INDEX" ;; \
    esac; \
    /opt/uv/bin/uv pip install "$@" "$TORCH"

COPY requirements.teacher.cpu.lock /tmp/
RUN --mount=type=secret,id=ca_bundle \
    --mount=type=cache,target=/root/.cache/uv \
    if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi; \
    /opt/uv/bin/uv pip install --no-deps --requirement /tmp/requirements.teacher.cpu.lock


FROM base AS teacher
COPY --from=packages /opt/venv /opt/venv
# Without TORCH_COMPILE_DISABLE a request for prompt_logprobs makes torch look for a C++ compiler, and the engine dies.
ENV TORCH_COMPILE_DISABLE=1 \
    VLLM_CPU_KVCACHE_SPACE=1 \
    VLLM_NO_USAGE_STATS=1 \
    DO_NOT_TRACK=1 \
    HF_HUB_DISABLE_TELEMETRY=1
RUN python -c "import torch, vllm; print('torch', torch.__version__, '| vllm', vllm.__version__)"

LABEL org.opencontainers.image.title="Self-Distillation CPU teacher" \
      org.opencontainers.image.description="vLLM without a GPU, for the tiny teacher" \
      org.opencontainers.image.licenses="Apache-2.0"
EXPOSE 8000
# Ends in --model, so that the first argument is the model, as it is for `vllm serve`, the GPU image's entry point: the
# `vllm` command itself looks for a distribution called vllm, and this one is called vllm-cpu.
ENTRYPOINT ["python", "-m", "vllm.entrypoints.openai.api_server", "--model"]
