// onnxruntime-node in a worker thread: a session of its own, and runs as they are sent.
import { parentPort, workerData } from 'node:worker_threads';

import { onnxruntimeNode, onnxruntimeNodeSession } from './engines.mjs';

const { model, options, input, output, shape } = workerData;
const { Tensor } = onnxruntimeNode();
const session = await onnxruntimeNodeSession(model, options);

parentPort.on('message', async (data) => {
  const outputs = await session.run({ [input]: new Tensor('float32', data, shape) });
  parentPort.postMessage(outputs[output].data);
});
parentPort.postMessage(undefined);
