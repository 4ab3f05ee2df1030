# Both can be replaced: by mirrors, or by ones that were assembled where nothing can be pulled. A tag may be another image
# tomorrow: for a build that can be repeated and checked, give both with a digest, as NAME:TAG@sha256:… (docs/administrator.md).
# The base needs glibc, libgcc and CA certificates. No `# syntax` line: the builder's own is enough, and nothing more is pulled.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /src

# Writes the list of dependencies into the program, where scanners of images find it.
ARG CARGO_AUDITABLE_VERSION=0.7.7
ENV CARGO_AUDITABLE=/opt/auditable/bin/cargo-auditable
RUN cargo install --locked --root /opt/auditable --version "${CARGO_AUDITABLE_VERSION}" cargo-auditable

# The dependencies, built with an empty program in our place: this layer stays until a manifest or Cargo.lock change.
# The tests are not in the build context. Cargo wants to read the manifest of their crate all the same, since Cargo.lock has it,
# and accepts none that names files which are not there.
COPY Cargo.toml Cargo.lock ./
COPY tests/testbed/Cargo.toml tests/testbed/
RUN sed -i '/^\[\[test\]\]/,/^$/d' Cargo.toml \
    && sed -i '/^\[\[bin\]\]/,/^$/d' tests/testbed/Cargo.toml \
    && mkdir -p src tests/testbed/src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs tests/testbed/src/lib.rs \
    && cargo build --release --locked

# The operator. Cargo compares times, and the source may be older than the layer above.
COPY src src
RUN touch src/main.rs src/lib.rs \
    && "${CARGO_AUDITABLE}" auditable build --release --locked

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="backup-target-operator" \
      org.opencontainers.image.description="Least-privilege IAM credentials for backups, declared as Kubernetes objects and handed to rclone" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
COPY LICENSE /LICENSE
COPY --from=build /src/target/release/backup-target-operator /backup-target-operator
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
ENTRYPOINT ["/backup-target-operator"]
