# syntax=docker/dockerfile:1
#
# An image of `tenon serve`, in place of tensorflow/serving's:
#
#   docker build -t tenon:0.1.0 .
#   docker build -t tenon:0.1.0-onnx --build-arg ENGINES=onnxruntime .
#   docker buildx build --platform linux/amd64,linux/arm64 -t tenon:0.1.0 .
#   docker run --read-only -p 8500:8500 -p 8501:8501 -v $PWD/models:/models:ro -e MODEL_NAME=half_plus_two tenon:0.1.0
#
# It is built from the source tree, not from the package: its dependencies are then those of
# package-lock.json, and the addon is made for the architecture at hand. What it takes over are the
# package's own files.
ARG NODE_IMAGE=node:20-bookworm-slim

FROM ${NODE_IMAGE} AS build
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates cmake g++ make \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY . .
RUN npm run build:ts && npm run prebuild -- --only "$(node -p process.arch)"

# "onnxruntime tensorflow", or one of them.
FROM ${NODE_IMAGE} AS install
ARG ENGINES="onnxruntime tensorflow"
WORKDIR /opt/tenon
COPY package.json package-lock.json .npmrc ./
RUN case " ${ENGINES} " in \
    *" onnxruntime "*) npm ci --ignore-scripts --omit=dev ;; \
    *) npm ci --ignore-scripts --omit=dev --omit=optional ;; \
  esac
# ONNX Runtime's package holds the libraries of all platforms.
RUN if [ -d node_modules/onnxruntime-node-engine ]; then \
    find node_modules/onnxruntime-node-engine/bin -type f \
      -not -path "*/linux/$(node -p process.arch)/*" -delete; \
  fi
COPY --from=build /src/dist ./dist
COPY --from=build /src/prebuilds ./prebuilds
ENV TENON_CACHE=/opt/tenon/cache
RUN mkdir -p "${TENON_CACHE}" \
  && case " ${ENGINES} " in *" tensorflow "*) \
    apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-pip \
    && rm -rf /var/lib/apt/lists/* \
    && node dist/cli.js engines install tensorflow ;; \
  esac
COPY LICENSE THIRD_PARTY_NOTICES.md deploy/workload/monitoring.yaml ./

FROM ${NODE_IMAGE} AS serve
LABEL org.opencontainers.image.title="Tenon" \
  org.opencontainers.image.description="Serves ONNX and TensorFlow models: TensorFlow Serving's APIs and the Open Inference Protocol" \
  org.opencontainers.image.version="0.1.0" \
  org.opencontainers.image.licenses="Apache-2.0"
# Where no flag names a model: /models/model, as in TensorFlow Serving's image.
ENV NODE_ENV=production \
  TENON_CACHE=/opt/tenon/cache \
  MODEL_NAME=model \
  MODEL_BASE_PATH=/models \
  TENON_HEALTH_URL=http://127.0.0.1:8501/healthz/ready
RUN mkdir -p /models
COPY --from=install /opt/tenon /opt/tenon
# The image's user "node", as a number so that Kubernetes can tell it is not root.
USER 1000:1000
WORKDIR /opt/tenon
EXPOSE 8500 8501
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch(process.env.TENON_HEALTH_URL).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# In exec form the server is process 1 and gets the signals; what `docker run` adds are flags.
ENTRYPOINT ["node", "/opt/tenon/dist/cli.js", "serve", "--port=8500", "--rest_api_port=8501"]
