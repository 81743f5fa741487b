# The image: it runs as 65532, needs no shell, and starts on a read-only root file system. To run it: deploy/README.md.
# For the same base for ever, name it by digest: --build-arg PYTHON=python@sha256:...
ARG PYTHON=python:3.13-slim-bookworm

FROM ${PYTHON} AS build
WORKDIR /build
# The lock that is installed: redis, which has the client of that store besides what every proxy runs on (a store is
# chosen by configuration, and what is not configured is not loaded); or otel, which has what tracing needs as well.
ARG REQUIREMENTS=redis
COPY requirements/${REQUIREMENTS}.txt requirements/
# The base's pip installs into a venv that has none. Wheels only: nothing is compiled, and no setup.py runs.
RUN python -m venv --without-pip /opt/pandadoc-proxy \
 && pip --python /opt/pandadoc-proxy install --no-cache-dir --no-compile \
      --require-hashes --only-binary :all: -r requirements/${REQUIREMENTS}.txt
COPY LICENSE /opt/pandadoc-proxy/
COPY proxy proxy
# The project is copied, not built: it is pure Python, its dependencies are the lock's, and so no build backend
# has to be fetched and trusted. The script is what its entry point in pyproject.toml would make.
# Modes are set because COPY brings the checkout's; bytecode is compiled so that it holds whatever becomes of
# file times on the way through registries, and comes out the same each time.
RUN cp -r proxy "$(/opt/pandadoc-proxy/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
 && printf '#!%s\nfrom proxy.__main__ import main\n\nmain()\n' /opt/pandadoc-proxy/bin/python \
      > /opt/pandadoc-proxy/bin/pandadoc-proxy \
 && chmod +x /opt/pandadoc-proxy/bin/pandadoc-proxy \
 && chmod -R a+rX /opt/pandadoc-proxy \
 && /opt/pandadoc-proxy/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/pandadoc-proxy/lib

FROM ${PYTHON}
ENV PATH=/opt/pandadoc-proxy/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    XDG_STATE_HOME=/var/lib
# The OAuth grant is kept in this folder: mount a volume here, or the grant dies with the container. There is no
# VOLUME, because an anonymous one is lost just as surely and nobody notices.
RUN ["install", "-d", "-o", "65532", "-g", "65532", "-m", "0700", "/var/lib/pandadoc-proxy"]
COPY --from=build /opt/pandadoc-proxy /opt/pandadoc-proxy
# The base brings its standard library without bytecode. To import each module of ours once (and the codec for
# names of hosts) writes it for those that we need; else, on a read-only root file system, each start and each health
# check compiles them anew, in twice the time. What REQUIREMENTS has nothing for is left out.
RUN ["python", "-c", "import encodings.idna, importlib, pkgutil, proxy\n\
for each in pkgutil.walk_packages(proxy.__path__, 'proxy.'):\n\
    try:\n\
        importlib.import_module(each.name)\n\
    except ImportError:\n\
        print('without', each.name)"]
ENV PYTHONDONTWRITEBYTECODE=1
# Labels come late: a new revision makes no layer anew.
ARG PYTHON
ARG REVISION=unknown
LABEL org.opencontainers.image.title="pandadoc-proxy" \
      org.opencontainers.image.description="A sidecar that lends PandaDoc credentials" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON}"
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["pandadoc-proxy", "healthcheck"]
ENTRYPOINT ["pandadoc-proxy"]
CMD ["run"]
