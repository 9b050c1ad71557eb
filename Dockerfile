# docker build -t echelon .                              torch for CPUs
# docker build -t echelon --build-arg TORCH=cu130 .      torch for CUDA 13.0
# docker run --rm --shm-size=2g --user "$(id -u):0" -v "$PWD/runs:/runs" echelon echelon train
#
# What a run writes is in /runs: outputs/, and the tracking store (mlflow.db, mlruns/). KubeRay gives
# the command itself (bash, ray start ...), so there is no entry point.

FROM python:3.11-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
# cpu, or a CUDA that PyTorch builds for: a folder of download.pytorch.org/whl.
ARG TORCH=cpu
# Dependencies first: a change of our code then costs one small layer. With the data of scenario=retail.
COPY pyproject.toml constraints.txt /tmp/echelon/
RUN python -c "import tomllib; p = tomllib.load(open('/tmp/echelon/pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['demo'], sep='\n')" > /tmp/echelon/requirements.txt \
    && pip install --no-cache-dir --extra-index-url "https://download.pytorch.org/whl/$TORCH" \
        -r /tmp/echelon/requirements.txt -c /tmp/echelon/constraints.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --no-deps /wheels/*.whl && rm -r /wheels /tmp/echelon

# The simulator's machine code, for any processor of the kind (generic: for any at all), and for
# whatever user: compiled here once, instead of some minutes in every container.
ARG CPU=x86-64-v3
ENV NUMBA_CPU_NAME=$CPU \
    NUMBA_CPU_FEATURES="" \
    NUMBA_CACHE_DIR=/opt/echelon/kernels
ARG WARM="retail two_echelon_dc disruption joint_replenishment beer_game"
RUN mkdir -p /opt/echelon/kernels \
    && for scenario in $WARM; do \
        echelon train scenario=$scenario smoke=true tracking.enabled=false out=/tmp/warm/$scenario || exit 1; \
    done \
    && rm -r /tmp/warm && chmod -R a+rwX /opt/echelon

# Group 0 may do what the user may: any other user of it will do.
RUN useradd --create-home --uid 10001 --gid 0 echelon \
    && mkdir -p /runs && chown 10001:0 /runs && chmod -R g=u /home/echelon /runs
ENV HOME=/home/echelon \
    USER=echelon \
    PYTHONUNBUFFERED=1
USER 10001:0
WORKDIR /runs
EXPOSE 8000 8265
CMD ["echelon", "--help"]
