# Stathera KMS with SoftHSM for trials. In production, mount your HSM's PKCS#11 module and name it with
# STATHERA_PKCS11_MODULE. compose.yaml runs it; docs/container.md has the rest. The steps are in .ci/image.sh, which
# runs them without Docker, too. It needs BuildKit, Docker's default builder, or Podman.
#
# Node 24 on Debian 12. Tag and digest belong together: the digest decides which image is used, the tag says which one
# that is, and the build refuses another version of Node.
ARG NODE_IMAGE=node:24.21.0-bookworm-slim@sha256:d6aa754f16b3197301076f047b5def2f02ea1dbbc2ca920407d46d7ec7f87b20

FROM ${NODE_IMAGE} AS build
WORKDIR /build
COPY .ci/image.sh .ci/
RUN sh .ci/image.sh tools
COPY package.json package-lock.json ./
RUN sh .ci/image.sh dependencies
COPY . .
RUN sh .ci/image.sh build /app

FROM ${NODE_IMAGE}
LABEL org.opencontainers.image.title="Stathera KMS" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN --mount=type=bind,source=.ci/image.sh,target=/tmp/image.sh sh /tmp/image.sh system
COPY --from=build /app /app
WORKDIR /app
ENV NODE_ENV=production \
    STATHERA_DATA_DIR=/var/lib/stathera
USER 10001:10001
VOLUME /var/lib/stathera
EXPOSE 8300
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --start-interval=1s --retries=3 \
  CMD ["node", "dist/cli/health-process.js"]
ENTRYPOINT ["node", "--disable-sigusr1", "dist/main.js"]
CMD ["serve"]
