// A contender's own process: opens it and answers each { ask } with what the block gave.
import { pathToFileURL } from 'node:url';

import { Unavailable } from './unavailable.mjs';

const [question, name] = process.argv.slice(2);

try {
  const { default: asked } = await import(pathToFileURL(question));
  const contender = asked.contenders.find((candidate) => candidate.name === name);
  const { block } = await contender.open();
  process.on('message', ({ ask }) => {
    Promise.resolve()
      .then(() => block(ask))
      .then((result) => process.send({ result }))
      .catch((error) => process.send({ error: String(error?.stack ?? error) }));
  });
  process.on('disconnect', () => process.exit(0));
  process.send({});
} catch (error) {
  const message =
    error instanceof Unavailable
      ? { unavailable: error.message }
      : { error: String(error?.stack ?? error) };
  process.send(message, () => process.exit(0));
}
