/**
 * The messages of TensorFlow Serving's gRPC services and of the Open Inference Protocol's. Tensors are
 * decoded and encoded by hand, from bytes to typed arrays and back; everything else goes through the
 * field tables of lib/protobuf.
 */

export { maxFillBytesDefault } from './decode-tensor.js';
export * from './infer.js';
export * from './messages.js';
export { type RequestModelSpec, type ResponseModelSpec, toRequestModelSpec } from './model-spec.js';
export * from './predict.js';
export * from './prediction-log.js';
