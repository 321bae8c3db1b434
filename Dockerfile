# The arguments of a container are those of the Go Pushgateway's image, and its data is in /data:
#
#     docker build --tag pushgate .
#     docker run --publish 9091:9091 --volume pushgate:/data pushgate --web.enable-lifecycle
ARG BASE=docker.io/library/python:3.13-slim

FROM $BASE AS build
WORKDIR /build
COPY requirements/ requirements/
RUN pip install --no-cache-dir --target /opt/build --require-hashes -r requirements/build.txt
RUN python3 -m venv --without-pip /opt/pushgate && pip --python /opt/pushgate/bin/python install --no-cache-dir --require-hashes --only-binary :all: -r requirements/server.txt
COPY pyproject.toml README.md LICENSE ./
COPY src/ src/
RUN PYTHONPATH=/opt/build python3 -m hatchling build -t wheel && pip --python /opt/pushgate/bin/python install --no-cache-dir --no-index --no-deps dist/*.whl

FROM $BASE
LABEL org.opencontainers.image.title="Pushgate" org.opencontainers.image.description="A Prometheus Pushgateway in Python" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/pushgate /opt/pushgate
RUN mkdir /data && chown 65534:65534 /data
ENV PATH=/opt/pushgate/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1
USER 65534:65534
WORKDIR /data
EXPOSE 9091
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9091/-/ready', timeout=4)"]
ENTRYPOINT ["pushgateway"]
