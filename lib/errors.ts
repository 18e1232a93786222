/**
 * Every code a TenonError can carry, documented one by one in docs/errors.md (a test compares
 * both lists). Codes are stable: match on them, never on messages.
 */
export const errorCodes = [
  'ERR_TENON_INVALID_ARGUMENT',
  'ERR_TENON_ADDON_NOT_FOUND',
  'ERR_TENON_ENGINE_NOT_FOUND',
  'ERR_TENON_ENGINE_LOAD',
  'ERR_TENON_ENGINE_VERSION',
  'ERR_TENON_ENGINE_CONFLICT',
  'ERR_TENON_ENGINE_INSTALL',
  'ERR_TENON_CHECKSUM',
  'ERR_TENON_CONFIGURE',
  'ERR_TENON_CONFIG',
  'ERR_TENON_MODEL_NOT_FOUND',
  'ERR_TENON_MODEL_FORMAT',
  'ERR_TENON_MODEL_INVALID',
  'ERR_TENON_UNKNOWN_TAG',
  'ERR_TENON_UNKNOWN_SIGNATURE',
  'ERR_TENON_MODEL_CLOSED',
  'ERR_TENON_POOL_CLOSED',
  'ERR_TENON_PROVIDER',
  'ERR_TENON_UNKNOWN_FEED',
  'ERR_TENON_MISSING_FEED',
  'ERR_TENON_UNKNOWN_OUTPUT',
  'ERR_TENON_DTYPE',
  'ERR_TENON_SHAPE',
  'ERR_TENON_DATA_LENGTH',
  'ERR_TENON_DETACHED',
  'ERR_TENON_DISPOSED',
  'ERR_TENON_TOO_LARGE',
  'ERR_TENON_INVALID_UTF8',
  'ERR_TENON_UNSUPPORTED',
  'ERR_TENON_OUT_OF_MEMORY',
  'ERR_TENON_RUN',
  'ERR_TENON_ABORTED',
  'ERR_TENON_TIMEOUT',
  'ERR_TENON_QUEUE_FULL',
  'ERR_TENON_DEADLINE',
  'ERR_TENON_BATCH',
  'ERR_TENON_NOT_BATCHABLE',
  'ERR_TENON_BINDING_BUSY',
  'ERR_TENON_LISTEN',
  'ERR_TENON_INTERNAL',
] as const;

export type TenonErrorCode = (typeof errorCodes)[number];

export interface TenonErrorOptions {
  /** What led to this error. */
  cause?: unknown;
  /** The engine's own error number (OrtErrorCode, TF_Code), where the engine raised it. */
  engineCode?: number;
}

const brand = Symbol.for('tenon.TenonError');

/**
 * Every error Tenon raises. Its message says what was expected, of what, and what came; an
 * engine's own text is kept.
 *
 * `instanceof TenonError` also holds across the package's ESM and CommonJS builds.
 */
export class TenonError extends Error {
  override readonly name = 'TenonError';
  readonly code: TenonErrorCode;
  readonly engineCode: number | undefined;

  constructor(code: TenonErrorCode, message: string, options: TenonErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.engineCode = options.engineCode;
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === 'object' && value !== null && brand in value;
  }
}

Object.defineProperty(TenonError.prototype, brand, { value: true });

/** How a value appears in a message: short, and never the whole of a large one. */
export function describe(value: unknown): string {
  if (value === null) return 'null';
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value.length > 64 ? `${value.slice(0, 64)}…` : value);
    case 'number':
    case 'boolean':
    case 'undefined':
      return String(value);
    case 'bigint':
      return `${value}n`;
    case 'function':
      return 'a function';
    case 'symbol':
      return 'a symbol';
    default: {
      if (Array.isArray(value)) return `an array of ${value.length}`;
      const name = value.constructor?.name;
      return name === undefined || name === 'Object' ? 'an object' : `an instance of ${name}`;
    }
  }
}

/** What a snapshot of counts holds of an error. */
export interface ErrorSummary {
  readonly code: string | undefined;
  readonly message: string;
}

export function inShort(error: unknown): ErrorSummary {
  if (!(error instanceof Error)) return { code: undefined, message: describe(error) };
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return { code, message: error.message };
}

export function modelClosed(): TenonError {
  return new TenonError(
    'ERR_TENON_MODEL_CLOSED',
    'expected an open model, received a call after close()',
  );
}

/** `expected <expected> for "<subject>", received <received>` as an ERR_TENON_INVALID_ARGUMENT. */
export function invalidArgument(subject: string, expected: string, received: unknown): TenonError {
  return new TenonError(
    'ERR_TENON_INVALID_ARGUMENT',
    `expected ${expected} for "${subject}", received ${describe(received)}`,
  );
}
