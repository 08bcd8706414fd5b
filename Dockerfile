# Stathera KMS with SoftHSM for trials. In production, mount your HSM's PKCS#11 module and name it with
# STATHERA_PKCS11_MODULE.
#
#   docker build -t stathera .
#   docker run --rm --read-only -v stathera:/var/lib/stathera stathera init
#   docker run --rm --read-only --ulimit core=0 -v stathera:/var/lib/stathera -p 127.0.0.1:8300:8300 \
#     -e STATHERA_LISTEN=0.0.0.0:8300 -e STATHERA_ALLOW_CLEARTEXT=1 stathera
#
# Cleartext is for a port published on the host's loopback, as here. Elsewhere mount a certificate and set
# STATHERA_TLS_CERT_FILE and STATHERA_TLS_KEY_FILE instead.
#
# The base image is pinned by its tag. A build that must be repeatable pins it by digest as well:
#   --build-arg NODE_IMAGE=node:24.21-bookworm-slim@sha256:…
ARG NODE_IMAGE=node:24.21-bookworm-slim

FROM ${NODE_IMAGE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ make python3 \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY package.json package-lock.json ./
# pkcs11js is built against the headers that the image has, so that node-gyp downloads none.
RUN npm_config_nodedir=/usr/local npm ci --no-audit --no-fund
COPY . .
RUN npm run build
# The optional packages are Node itself for machines that have an older one.
RUN npm prune --omit=dev --omit=optional --no-audit --no-fund

FROM ${NODE_IMAGE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends softhsm2 \
 && rm -rf /var/lib/apt/lists/* /usr/local/lib/node_modules /opt/yarn-* \
 && rm -f /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack /usr/local/bin/yarn /usr/local/bin/yarnpkg \
 && useradd --system --uid 10001 --user-group --no-create-home --home-dir /var/lib/stathera stathera \
 && install -d -o stathera -g stathera -m 0700 /var/lib/stathera
WORKDIR /app
COPY --from=build /build/package.json /build/LICENSE ./
COPY --from=build /build/node_modules ./node_modules
COPY --from=build /build/dist ./dist
ENV NODE_ENV=production \
    STATHERA_DATA_DIR=/var/lib/stathera
USER 10001:10001
VOLUME /var/lib/stathera
EXPOSE 8300
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "const { STATHERA_LISTEN: listen = ':8300', STATHERA_TLS_CERT_FILE: tls } = process.env; require(tls ? 'https' : 'http').get({ host: '127.0.0.1', port: listen.split(':').pop(), path: '/readyz', rejectUnauthorized: false }, (answer) => process.exit(answer.statusCode === 200 ? 0 : 1)).on('error', () => process.exit(1))"]
ENTRYPOINT ["node", "--disable-sigusr1", "dist/main.js"]
CMD ["serve"]
