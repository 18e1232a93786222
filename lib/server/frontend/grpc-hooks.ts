/** What every gRPC call goes through before and after its handler: access, traces, the log. */

import { StatusCode, StatusError } from '../../codec/status.js';
import type { GrpcTransportOptions } from '../grpc/transport.js';
import type { Carrier, RequestSpan, Tracing } from '../tracing.js';
import type { FrontendHooks } from './hooks.js';

/** Anybody may ask for it, and asks often. */
const health =
  /^\/(?:grpc\.health\.v1\.Health\/|inference\.GRPCInferenceService\/Server(?:Live|Ready)$)/;

/** Undefined where there is nothing to do: a call then costs nothing here. */
export function observeCall({
  checkToken,
  tracing,
  log,
  logSampling,
}: FrontendHooks): GrpcTransportOptions['onCall'] {
  if (checkToken === undefined && tracing === undefined && logSampling === 0) return undefined;
  return ({ path, headers, peer }) => {
    if (health.test(path)) return undefined;
    if (checkToken?.(headers.authorization) === false) {
      throw new StatusError(
        'UNAUTHENTICATED',
        'The call needs the metadata "authorization: Bearer <token>"',
      );
    }
    const span = tracing?.wants(headers) === true ? spanOf(tracing, path, headers) : undefined;
    if (span === undefined && logSampling === 0) return undefined;
    return {
      run: (act) => (span === undefined ? act() : span.run(act)),
      end: ({ status, requestBytes, responseBytes, micros }) => {
        const isOurs = ours.has(status);
        span?.end({ 'rpc.grpc.status_code': StatusCode[status] }, isOurs);
        if (logSampling === 0 || (!isOurs && Math.random() >= logSampling)) return;
        log.info(
          {
            api: 'GRPC',
            method: path,
            status,
            ms: Math.round(micros) / 1000,
            requestBytes,
            responseBytes,
            client: peer,
          },
          'request',
        );
      },
    };
  };
}

function spanOf(tracing: Tracing, path: string, headers: Carrier): RequestSpan {
  const [, service = '', method = ''] = path.split('/');
  return tracing.start(path.slice(1), headers, {
    'rpc.system': 'grpc',
    'rpc.service': service,
    'rpc.method': method,
  });
}

/** Statuses that are no mistake of the client's. */
const ours = new Set(['UNKNOWN', 'INTERNAL', 'DATA_LOSS', 'UNAVAILABLE', 'UNIMPLEMENTED']);
