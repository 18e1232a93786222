import type { Tensor } from '../index.js';

interface AnyExchange {
  /** As it was run: never "". */
  readonly signatureName: string;
  /** The request's serialized message, where it came as one. */
  readonly message: Uint8Array | undefined;
}

export interface PredictExchange extends AnyExchange {
  readonly kind: 'predict';
  readonly feeds: Readonly<Record<string, Tensor>>;
  readonly outputFilter: readonly string[];
  readonly outputs: readonly { readonly name: string; readonly tensor: Tensor }[];
}

export interface ClassifyExchange extends AnyExchange {
  readonly kind: 'classify';
  readonly examples: readonly Uint8Array[];
  readonly classifications: readonly (readonly {
    readonly label: string;
    readonly score: number;
  }[])[];
}

export interface RegressExchange extends AnyExchange {
  readonly kind: 'regress';
  readonly examples: readonly Uint8Array[];
  readonly values: readonly number[];
}

export interface MultiInferenceExchange {
  readonly kind: 'multiInference';
  readonly message: Uint8Array | undefined;
  readonly examples: readonly Uint8Array[];
  readonly results: readonly (
    | Pick<ClassifyExchange, 'kind' | 'signatureName' | 'classifications'>
    | Pick<RegressExchange, 'kind' | 'signatureName' | 'values'>
  )[];
}

/** A request and what it was answered. */
export type Exchange =
  PredictExchange | ClassifyExchange | RegressExchange | MultiInferenceExchange;

/** Of one request. */
export interface RequestObserver {
  /**
   * The model has run for the request, and there was no error. At most once, before the version is
   * released. Tensors of the exchange may be let go of (`letGo`) afterwards. Never throws.
   */
  answered(exchange: Exchange): void;
}
