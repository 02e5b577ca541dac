# The image of one replica: the binary, the notices of what it is built from, CA certificates and nothing else, no shell either.
# Build it with BuildKit (the default since Docker 23): docker build -t pgchat .
#
# The base images are named by tags, which may move. To pin one, put its digest behind it, as in rust:1.95-slim-bookworm@sha256:…
# ("docker buildx imagetools inspect IMAGE" prints it).

FROM rust:1.95-slim-bookworm AS rust
WORKDIR /build

# What cargo needs to know of the workspace, with stubs for the sources: this stage's result changes only with
# a manifest or the lock file, whatever else changes.
FROM rust AS manifests
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock -delete \
 && find . -name Cargo.toml | while read -r manifest; do \
      mkdir -p "${manifest%/*}/src" \
   && echo 'fn main() {}' > "${manifest%/*}/src/main.rs" \
   && : > "${manifest%/*}/src/lib.rs"; \
    done

# All dependencies, in a layer of their own. The stubs' own artifacts go: they are newer than the sources
# that replace them, and cargo would take them for up to date.
FROM rust AS dependencies
COPY --from=manifests /build .
RUN cargo build --release --locked -p pgchat \
 && cargo clean --release -p pgchat

FROM dependencies AS build
COPY . .
# For pgchat_build_info: docker build --build-arg PGCHAT_COMMIT="$(git rev-parse HEAD)" (.git does not come in here).
ARG PGCHAT_COMMIT=""
RUN cargo build --release --locked -p pgchat \
 && scripts/notices.sh >/build/THIRD-PARTY-NOTICES

# The same Debian as the build stage: the binary links against its C library.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/pgchat /usr/local/bin/pgchat
COPY --from=build /build/THIRD-PARTY-NOTICES /usr/share/doc/pgchat/THIRD-PARTY-NOTICES
# No SERVER_HOST: with a key pgchat listens on all interfaces. Without one it believes every caller, and then only loopback of the
# container reaches it, published port or not, until SERVER_HOST says that a gateway stands in front.
EXPOSE 8081
# Whether it runs, and not whether it is ready: Swarm, and Podman with --health-on-failure, end a container that fails, with all its
# sockets, and one that is full, or without its database, is not mended by that. The start covers migrations and waiting for the
# database: until then a replica does not listen.
HEALTHCHECK --interval=5s --timeout=6s --start-period=60s --retries=3 \
  CMD ["/usr/local/bin/pgchat", "healthcheck", "--live"]
ENTRYPOINT ["/usr/local/bin/pgchat"]
CMD ["serve"]
