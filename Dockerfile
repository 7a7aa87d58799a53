# One image for webserver, daemon and code server, of runtime dependencies alone; docker-compose.yml names the base image.
ARG BASE_IMAGE=python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea
FROM ${BASE_IMAGE}
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DAGSTER_HOME=/opt/sync_pipelines SYNC_PIPELINES_HOME=/var/lib/sync_pipelines
WORKDIR /opt/sync_pipelines
RUN pip install --no-cache-dir uv
COPY requirements-runtime.lock ./
RUN uv pip install --system --no-cache --compile-bytecode --require-hashes -r requirements-runtime.lock
# The package is installed from a wheel, by the setuptools of the lock; its source stays outside of the working directory.
COPY pyproject.toml README.md /usr/src/sync_pipelines/
COPY sync_pipelines /usr/src/sync_pipelines/sync_pipelines
COPY dbt_like_sql ./dbt_like_sql
COPY deploy/workspace.yaml ./
RUN uv pip install --system --no-cache --compile-bytecode --no-deps --no-build-isolation /usr/src/sync_pipelines \
    && cp /usr/src/sync_pipelines/sync_pipelines/orchestrate/dagster.yaml . && rm -r /usr/src/sync_pipelines \
    && useradd --system --uid 10001 --home-dir /var/lib/sync_pipelines --create-home sync \
    && mkdir -p .dagster logs /var/lib/sync_pipelines/gates && chown -R sync .dagster logs /var/lib/sync_pipelines
USER sync
EXPOSE 3000 3001 4000
CMD ["python", "-m", "sync_pipelines.orchestrate.webserver", "--host", "0.0.0.0", "--port", "3000", "-w", "workspace.yaml"]
