/** The codec of the server, which the package does not export, and the tensors it takes. */
export { decodePredict, encodePredict } from '../../lib/codec/json.js';
export { Tensor } from '../../lib/tensor/tensor.js';
