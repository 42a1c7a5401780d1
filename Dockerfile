# A server of SlowFast-LLaVA, hardened as the documentation describes. compose.yaml builds and runs it.
#   docker build -t sfllava .                            for NVIDIA GPUs
#   docker build -t sfllava --build-arg EXTRA=cpu .      for CPUs
# Tags move. For a build that can be repeated, give a digest: --build-arg PYTHON=python@sha256:...
ARG PYTHON=python:3.12.12-slim-bookworm

FROM ${PYTHON} AS build
ARG EXTRA=cuda
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
WORKDIR /src
RUN pip install --no-cache-dir "uv==0.13.*" && uv venv /opt/venv
COPY pyproject.toml README.md LICENSE registry.yaml ./
COPY packaging/vllm-name packaging/vllm-name
COPY requirements requirements
COPY models models
COPY sfllava_plugin sfllava_plugin
# The bounds in pyproject.toml admit the tested series only. The CPU build has a lock as well.
RUN if [ "$EXTRA" = cpu ]; then \
      set -- --torch-backend cpu --constraint requirements/cpu.lock --override requirements/overrides.txt \
        ./packaging/vllm-name; \
    fi; \
    uv pip install --no-cache --python /opt/venv/bin/python ".[$EXTRA]" "$@"

FROM ${PYTHON}
# Compilers: Triton and torch.compile build kernels at start. libseccomp confines the video decoders.
# Debian keeps no old releases of a package, so a pinned one would stop building.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ libnuma1 libseccomp2 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin sfllava \
 && install --directory --owner=sfllava --group=sfllava /models /cache
COPY --from=build /opt/venv /opt/venv
# Only /tmp needs to be writable, and its files executable: compiled kernels are loaded from there.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    HF_HOME=/models \
    SFLLAVA_CACHE=/cache \
    VLLM_CACHE_ROOT=/tmp/vllm \
    TRITON_CACHE_DIR=/tmp/triton \
    TORCHINDUCTOR_CACHE_DIR=/tmp/inductor \
    VLLM_NO_USAGE_STATS=1 \
    VLLM_MEDIA_FETCH_MAX_RETRIES=1 \
    ONEDNN_PRIMITIVE_CACHE_CAPACITY=64 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000
# Loading and compiling a 34B model takes minutes.
HEALTHCHECK --start-period=15m --interval=30s --timeout=10s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["vllm", "serve"]
CMD ["--model", "sf-llava"]
