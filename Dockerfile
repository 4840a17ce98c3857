# docker build -t kling-batch .
# docker run --rm -v "$PWD:/work" -e FAL_KEY kling-batch run campaign.yaml --max-cost 10
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY kling_batch kling_batch
ARG EXTRAS=""
RUN python -m venv /opt/kling-batch && /opt/kling-batch/bin/pip install --no-cache-dir ".$EXTRAS"

FROM python:3.12-slim
COPY --from=build /opt/kling-batch /opt/kling-batch
# Files in the mounted folder belong to this user: build with --build-arg UID="$(id -u)".
ARG UID=1000
RUN useradd --uid "$UID" --create-home kling
USER $UID
WORKDIR /work
ENTRYPOINT ["/opt/kling-batch/bin/kling-batch"]
CMD ["--help"]
