# PostgreSQL 17 with pgcache, on the official image. Not built by the project's CI, so untested: read it before use.

FROM postgres:17 AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ make libre2-dev postgresql-server-dev-17
COPY . /pgcache
RUN make -C /pgcache install DESTDIR=/installed PG_CONFIG=/usr/lib/postgresql/17/bin/pg_config

FROM postgres:17
RUN apt-get update && apt-get install -y --no-install-recommends libre2-11 && rm -rf /var/lib/apt/lists/*
COPY --from=build /installed/ /
# Runs once, when the database is made.
COPY docker/create-extension.sql /docker-entrypoint-initdb.d/
CMD ["postgres", "-c", "shared_preload_libraries=pgcache"]
