# docker build -t echelon .
# docker run --rm --shm-size=2g -v "$PWD/outputs:/home/echelon/work/outputs" echelon train
#
# A smaller image without CUDA: --build-arg PIP_EXTRA_INDEX_URL=<an index with CPU wheels of torch>

FROM python:3.11-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
ARG PIP_EXTRA_INDEX_URL=""
# Dependencies first: a change of our code then costs one small layer.
COPY pyproject.toml constraints.txt /tmp/echelon/
RUN python -c "import tomllib; print(*tomllib.load(open('/tmp/echelon/pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > /tmp/echelon/requirements.txt \
    && pip install --no-cache-dir -r /tmp/echelon/requirements.txt -c /tmp/echelon/constraints.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --no-deps /wheels/*.whl \
    && rm -r /wheels /tmp/echelon \
    && useradd --create-home --uid 10001 echelon

USER echelon
WORKDIR /home/echelon/work
# The packages are root's: compiled kernels are cached beside the runs.
ENV NUMBA_CACHE_DIR=/home/echelon/.cache/numba \
    PYTHONUNBUFFERED=1
EXPOSE 8000
ENTRYPOINT ["echelon"]
CMD ["--help"]
