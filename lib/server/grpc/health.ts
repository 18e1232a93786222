/** grpc.health.v1.Health (github.com/grpc/grpc/blob/master/doc/health-checking.md). */

import { decoded, decodeOptions } from '../../codec/proto/malformed.js';
import { StatusError } from '../../codec/status.js';
import {
  HealthCheckRequest,
  HealthCheckResponse,
  HealthCheckResponseServingStatus as ServingStatus,
} from '../../protobuf/tensorflow-serving.js';
import type { GrpcMethod, StreamCall, StreamListener } from './transport.js';

/** Health of the server as a whole: each of its services is as well as all of it. */
export class Health {
  readonly #isReady: () => boolean;
  readonly #services: ReadonlySet<string>;
  readonly #watches = new Set<Watch>();
  #isStopping = false;

  constructor(isReady: () => boolean, services: Iterable<string>) {
    this.#isReady = isReady;
    this.#services = new Set(['', ...services]);
  }

  methods(): [string, GrpcMethod][] {
    return [
      ['/grpc.health.v1.Health/Check', { unary: (request) => this.#check(request) }],
      ['/grpc.health.v1.Health/Watch', { stream: (call) => this.#watch(call) }],
    ];
  }

  /** Tells those who watch, if it is not what they know. */
  update(): void {
    for (const watch of this.#watches) watch.update();
  }

  /** Not serving from here on. */
  stop(): void {
    this.#isStopping = true;
    this.update();
  }

  #check(request: Buffer): Uint8Array {
    const { service } = decoded(() => HealthCheckRequest.decode(request, decodeOptions));
    const status = this.#statusOf(service);
    if (status === ServingStatus.SERVICE_UNKNOWN) {
      throw new StatusError('NOT_FOUND', `unknown service ${service}`);
    }
    return HealthCheckResponse.encode({ status });
  }

  #watch(call: StreamCall): StreamListener {
    const watch = new Watch(call, (service) => this.#statusOf(service));
    return {
      onMessage: (message) => {
        if (watch.service !== undefined) {
          throw new StatusError('UNIMPLEMENTED', 'Received more than one request message');
        }
        watch.service = decoded(() => HealthCheckRequest.decode(message, decodeOptions)).service;
        this.#watches.add(watch);
        watch.update();
      },
      onHalfClose: () => {
        if (watch.service !== undefined) return;
        call.end(new StatusError('UNIMPLEMENTED', 'Received no request message'));
      },
      onDrain: () => watch.onDrain(),
      onClose: () => this.#watches.delete(watch),
      onShutdown: () => {
        this.stop();
        call.end(new StatusError('UNAVAILABLE', 'The server is shutting down'));
      },
    };
  }

  #statusOf(service: string): number {
    if (!this.#services.has(service)) return ServingStatus.SERVICE_UNKNOWN;
    const isServing = !this.#isStopping && this.#isReady();
    return isServing ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  }
}

class Watch {
  service: string | undefined;
  readonly #call: StreamCall;
  readonly #statusOf: (service: string) => number;
  #told: number | undefined;
  #takesMore = true;

  constructor(call: StreamCall, statusOf: (service: string) => number) {
    this.#call = call;
    this.#statusOf = statusOf;
  }

  /** A client that does not read gets the latest status when it does, and none in between. */
  update(): void {
    if (this.service === undefined) return;
    const status = this.#statusOf(this.service);
    if (status === this.#told) return;
    if (!this.#takesMore) return;
    this.#told = status;
    this.#takesMore = this.#call.send(HealthCheckResponse.encode({ status }));
  }

  onDrain(): void {
    this.#takesMore = true;
    this.update();
  }
}
