// A coverage-guided fuzzer for targets in TypeScript (test/fuzz/*.ts, each with `fuzz(data: Buffer)`):
// an input that goes a way no input has gone before is kept, and inputs that are kept are what the
// next ones are made of. A way is a pair of places in the code, one after the other, and how often.
//
// The target runs in a worker, so that one that does not end, or fills memory, is a finding as well.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

const waysLength = 1 << 16;
const hangMs = 10_000;
const reportMs = 5000;

/** The module with a count at each function, branch and loop. */
export async function instrument(source) {
  const { default: ts } = await import('typescript');
  const { factory } = ts;
  let places = 0;
  const hit = () =>
    factory.createCallExpression(factory.createIdentifier('$way'), undefined, [
      // Spread over the table, so that two pairs seldom share an entry.
      factory.createNumericLiteral((Math.imul(++places, 0x9e3779b1) >>> 16) % waysLength),
    ]);
  const hitStatement = () => factory.createExpressionStatement(hit());
  const counted = (expression) =>
    factory.createParenthesizedExpression(factory.createComma(hit(), expression));

  const transformer = (context) => {
    const inBlock = (statement) =>
      ts.isBlock(statement)
        ? factory.updateBlock(statement, [hitStatement(), ...statement.statements])
        : factory.createBlock([hitStatement(), statement]);
    const visit = (original) => {
      const node = ts.visitEachChild(original, visit, context);
      if (ts.isFunctionLike(node) && node.body !== undefined && ts.isBlock(node.body)) {
        // A body is a block of its own; a constructor may have to call super() first.
        if (ts.isConstructorDeclaration(node)) return node;
        const body = inBlock(node.body);
        return replaceBody(node, body);
      }
      if (ts.isIfStatement(node)) {
        return factory.updateIfStatement(
          node,
          node.expression,
          inBlock(node.thenStatement),
          node.elseStatement === undefined
            ? factory.createBlock([hitStatement()])
            : inBlock(node.elseStatement),
        );
      }
      if (ts.isForStatement(node)) {
        const { initializer, condition, incrementor, statement } = node;
        return factory.updateForStatement(
          node,
          initializer,
          condition,
          incrementor,
          inBlock(statement),
        );
      }
      if (ts.isForOfStatement(node)) {
        const { awaitModifier, initializer, expression, statement } = node;
        return factory.updateForOfStatement(
          node,
          awaitModifier,
          initializer,
          expression,
          inBlock(statement),
        );
      }
      if (ts.isWhileStatement(node)) {
        return factory.updateWhileStatement(node, node.expression, inBlock(node.statement));
      }
      if (ts.isCaseClause(node)) {
        return factory.updateCaseClause(node, node.expression, [
          hitStatement(),
          ...node.statements,
        ]);
      }
      if (ts.isDefaultClause(node)) {
        return factory.updateDefaultClause(node, [hitStatement(), ...node.statements]);
      }
      if (ts.isCatchClause(node)) {
        return factory.updateCatchClause(node, node.variableDeclaration, inBlock(node.block));
      }
      if (ts.isConditionalExpression(node)) {
        return factory.updateConditionalExpression(
          node,
          node.condition,
          node.questionToken,
          counted(node.whenTrue),
          node.colonToken,
          counted(node.whenFalse),
        );
      }
      const isLogical =
        ts.isBinaryExpression(node) &&
        [
          ts.SyntaxKind.AmpersandAmpersandToken,
          ts.SyntaxKind.BarBarToken,
          ts.SyntaxKind.QuestionQuestionToken,
        ].includes(node.operatorToken.kind);
      if (isLogical) {
        return factory.updateBinaryExpression(
          node,
          node.left,
          node.operatorToken,
          counted(node.right),
        );
      }
      return node;
    };
    const replaceBody = (node, body) => {
      if (ts.isFunctionDeclaration(node)) {
        const { modifiers, asteriskToken, name, parameters } = node;
        return factory.updateFunctionDeclaration(
          node,
          modifiers,
          asteriskToken,
          name,
          undefined,
          parameters,
          undefined,
          body,
        );
      }
      if (ts.isMethodDeclaration(node)) {
        const { modifiers, asteriskToken, name, parameters } = node;
        return factory.updateMethodDeclaration(
          node,
          modifiers,
          asteriskToken,
          name,
          undefined,
          undefined,
          parameters,
          undefined,
          body,
        );
      }
      if (ts.isArrowFunction(node)) {
        const { modifiers, parameters, equalsGreaterThanToken } = node;
        return factory.updateArrowFunction(
          node,
          modifiers,
          undefined,
          parameters,
          undefined,
          equalsGreaterThanToken,
          body,
        );
      }
      return node;
    };
    return (file) => ts.visitNode(file, visit);
  };

  const file = ts.createSourceFile('target.cjs', source, ts.ScriptTarget.ES2022, true);
  const { transformed } = ts.transform(file, [transformer]);
  const text = ts.createPrinter().printFile(transformed[0]);
  return [
    `const $ways = (globalThis.$ways = new Uint8Array(${waysLength}));`,
    'let $last = 0;',
    'function $way(place) { $ways[place ^ $last]++; $last = place >> 1; }',
    text,
  ].join('\n');
}

/**
 * Runs the instrumented CommonJS module for some minutes.
 *
 * @returns The path of a finding, or undefined.
 */
export async function fuzzModule(options) {
  const { maxBytes, findings } = options;
  // [0]: how many inputs have run, [1]: the length of the one that runs; behind it its bytes.
  const shared = new SharedArrayBuffer(8 + maxBytes);
  const counts = new Int32Array(shared, 0, 2);
  const worker = new Worker(fileURLToPath(import.meta.url), {
    workerData: { ...options, shared },
    resourceLimits: { maxOldGenerationSizeMb: 1024 },
  });
  let last = -1;
  const watchdog = setInterval(() => {
    if (counts[0] === last) {
      outcome = `no end within ${hangMs} ms`;
      void worker.terminate();
    }
    last = counts[0];
  }, hangMs);
  let outcome;
  await new Promise((resolve) => {
    worker.on('message', (message) => {
      if (message.finding !== undefined) outcome = message.finding;
      else console.log(message.line);
    });
    worker.on('error', (error) => (outcome ??= error.stack ?? String(error)));
    worker.on('exit', resolve);
  });
  clearInterval(watchdog);
  if (outcome === undefined) return undefined;
  const input = Buffer.from(new Uint8Array(shared, 8, counts[1]));
  const file = path.join(findings, `finding-${digest(input)}`);
  writeFileSync(file, input);
  console.error(outcome);
  return file;
}

function digest(bytes) {
  return createHash('sha1').update(bytes).digest('hex').slice(0, 16);
}

function filesIn(folder) {
  return existsSync(folder)
    ? readdirSync(folder).map((name) => readFileSync(path.join(folder, name)))
    : [];
}

/** How often a way was gone counts in steps: 1, 2, 3, 4–7, 8–15, 16–31, 32–127, more. */
const stepOf = Uint8Array.from({ length: 256 }, (_, count) => {
  if (count < 4) return count === 0 ? 0 : 1 << (count - 1);
  if (count < 8) return 8;
  if (count < 16) return 16;
  if (count < 32) return 32;
  return count < 128 ? 64 : 128;
});

function runWorker({ program, seeds, corpus, dictionary, maxBytes, minutes, keep, shared }) {
  const { fuzz } = createRequire(import.meta.url)(program);
  const ways = globalThis.$ways;
  const counts = new Int32Array(shared, 0, 2);
  const current = new Uint8Array(shared, 8);
  const wayWords = new Uint32Array(ways.buffer);
  const seen = new Uint8Array(ways.length);
  const pool = [];
  const words = dictionary.map((word) => Buffer.from(word, 'latin1'));

  /** Whether the input goes a new way. */
  const isNew = (input) => {
    counts[0]++;
    counts[1] = input.length;
    current.set(input);
    ways.fill(0);
    try {
      fuzz(input);
    } catch (error) {
      parentPort.postMessage({ finding: error?.stack ?? String(error) });
      process.exit();
    }
    let found = false;
    for (let word = 0; word < wayWords.length; word++) {
      // Most are 0: four of them at once.
      if (wayWords[word] === 0) continue;
      for (let i = 4 * word; i < 4 * word + 4; i++) {
        const step = stepOf[ways[i]];
        if ((seen[i] & step) === step) continue;
        seen[i] |= step;
        found = true;
      }
    }
    return found;
  };
  const random = (below) => Math.floor(Math.random() * below);
  const taken = () => {
    // What was found last is the least explored.
    const newest = random(3) === 0 ? Math.max(0, pool.length - 32) : 0;
    return pool[newest + random(pool.length - newest)];
  };
  const mutate = (input) => {
    let bytes = Buffer.from(input);
    for (let rounds = 1 + random(4); rounds > 0; rounds--) {
      const at = random(bytes.length + 1);
      const span = 1 + random(Math.min(16, bytes.length - at + 1));
      const before = bytes.subarray(0, at);
      switch (random(9)) {
        case 0:
          if (at < bytes.length) bytes[at] ^= 1 << random(8);
          break;
        case 1:
          if (at < bytes.length) bytes[at] = random(256);
          break;
        case 2:
          if (at < bytes.length) bytes[at] += random(2) === 0 ? 1 + random(8) : -1 - random(8);
          break;
        case 3:
          bytes = Buffer.concat([before, bytes.subarray(at + span)]);
          break;
        case 4:
          bytes = Buffer.concat([before, bytes.subarray(at, at + span), bytes.subarray(at)]);
          break;
        case 5: {
          const more = Buffer.from(Array.from({ length: span }, () => random(256)));
          bytes = Buffer.concat([before, more, bytes.subarray(at)]);
          break;
        }
        case 6: {
          const other = taken();
          const from = random(other.length + 1);
          const piece = other.subarray(from, from + 1 + random(64));
          bytes = Buffer.concat([before, piece, bytes.subarray(random(2) === 0 ? at : at + span)]);
          break;
        }
        case 7:
          if (words.length > 0) {
            bytes = Buffer.concat([before, words[random(words.length)], bytes.subarray(at)]);
          }
          break;
        default: {
          // Numbers where limits are: varints that are long, lengths that are too large.
          const numbers = ['ffffffff0f', 'ffffffffffffffffff01', '8080808008', '7f', '00', 'ff'];
          const number = Buffer.from(numbers[random(numbers.length)], 'hex');
          bytes = Buffer.concat([before, number, bytes.subarray(at + random(3))]);
        }
      }
    }
    return bytes.subarray(0, maxBytes);
  };

  const started = Date.now();
  const report = () => {
    const seconds = (Date.now() - started) / 1000;
    const found = seen.reduce((sum, steps) => sum + (steps === 0 ? 0 : 1), 0);
    const perSecond = Math.round(counts[0] / Math.max(seconds, 0.001));
    parentPort.postMessage({
      line: `${counts[0]} inputs, ${perSecond}/s, ${found} ways, ${pool.length} kept`,
    });
  };
  // The shortest first: of those that go the same ways it stays.
  const known = [...filesIn(seeds), ...filesIn(corpus)]
    .map((input) => input.subarray(0, maxBytes))
    .sort((a, b) => a.length - b.length);
  for (const input of [Buffer.alloc(1), ...known]) if (isNew(input)) pool.push(input);
  if (keep !== undefined) {
    for (const input of pool) writeFileSync(path.join(keep, digest(input)), input);
    report();
    return;
  }
  let reported = Date.now();
  for (const end = started + minutes * 60_000; Date.now() < end;) {
    for (let i = 0; i < 200; i++) {
      const input = mutate(taken());
      if (!isNew(input)) continue;
      pool.push(input);
      writeFileSync(path.join(corpus, digest(input)), input);
    }
    if (Date.now() - reported > reportMs) {
      report();
      reported = Date.now();
    }
  }
  report();
}

if (!isMainThread) runWorker(workerData);
