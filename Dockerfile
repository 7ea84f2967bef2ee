# An image with `lifelong` and the pinned packages; no compiler, no tests.
#   docker build -t lifelong .                             # PyTorch for the CPU: about 2 GB
#   docker build -t lifelong:cuda --build-arg TORCH=cuda . # PyTorch with CUDA: about 8 GB
#   docker run --rm -v "$PWD:/work" lifelong run strategy=lasem_hps data=digits
#   docker run --rm --gpus all --shm-size=2g -v "$PWD:/work" lifelong:cuda run strategy=er data=cifar100 trainer=gpu
# Outputs and data sets are in the folder that is mounted; --user "$(id -u):$(id -g)" makes them yours.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim
ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
# Torch before all else: it changes least, and is the larger part.
COPY constraints.txt /build/
RUN case "$TORCH" in \
      cpu) pip install -c /build/constraints.txt torch torchvision \
             --index-url https://download.pytorch.org/whl/cpu --extra-index-url https://pypi.org/simple ;; \
      cuda) pip install -c /build/constraints.txt torch torchvision ;; \
      *) echo "TORCH=$TORCH: give cpu or cuda" >&2; exit 2 ;; \
    esac
COPY pyproject.toml README.md LICENSE CHANGELOG.md /build/
COPY conf /build/conf
COPY lifelong /build/lifelong
RUN pip install -c /build/constraints.txt /build && rm -r /build
# Whoever runs it may write there: caches of matplotlib and of PyTorch.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
ENTRYPOINT ["lifelong"]
CMD ["--help"]
