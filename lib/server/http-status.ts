import { type StatusName, StatusError } from '../codec/status.js';

/** The HTTP status that TensorFlow Serving answers a status with. */
export const httpStatusOf: Readonly<Record<StatusName, number>> = {
  OK: 200,
  CANCELLED: 499,
  UNKNOWN: 500,
  INVALID_ARGUMENT: 400,
  DEADLINE_EXCEEDED: 504,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  PERMISSION_DENIED: 403,
  RESOURCE_EXHAUSTED: 429,
  FAILED_PRECONDITION: 400,
  ABORTED: 409,
  OUT_OF_RANGE: 400,
  UNIMPLEMENTED: 501,
  INTERNAL: 500,
  UNAVAILABLE: 503,
  DATA_LOSS: 500,
  UNAUTHENTICATED: 401,
};

/** An error whose HTTP status says more than its status does. */
export class HttpError extends StatusError {
  readonly httpStatus: number;

  constructor(httpStatus: number, status: StatusName, message: string, options?: ErrorOptions) {
    super(status, message, options);
    this.httpStatus = httpStatus;
  }
}

/** The HTTP status of an error's answer. */
export function httpStatusOfError(error: StatusError): number {
  return error instanceof HttpError ? error.httpStatus : httpStatusOf[error.status];
}

/** `{"error": "<message>"}`, which every answer but a success is, laid out as TensorFlow Serving does. */
export function errorBody(message: string): Buffer {
  return Buffer.from(`{\n    "error": ${JSON.stringify(message)}\n}`);
}
