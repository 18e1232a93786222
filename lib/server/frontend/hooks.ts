import type { Logger } from '../logging.js';
import type { TokenCheck } from '../token.js';
import type { Tracing } from '../tracing.js';

/** What requests go through, whatever carries them. */
export interface FrontendHooks {
  /** Undefined: everybody may. */
  readonly checkToken: TokenCheck | undefined;
  /** Undefined: there are no traces. */
  readonly tracing: Tracing | undefined;
  readonly log: Logger;
  /** Share of the requests that are logged, 0 to 1; above 0 failures of ours always are. */
  readonly logSampling: number;
  /** Whether answers should tell their clients to connect anew. */
  readonly isDraining: () => boolean;
}
