#!/usr/bin/env node
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';

import { packageVersion } from '../server/package-version.js';
import { type CommandContext, UsageError, collect, splitTags } from './context.js';
import { printable } from './terminal.js';

const debugOption = new Option('--debug', 'print stack traces (also: TENON_DEBUG=1)');

const exitCodes = { failure: 1, usage: 2, interrupted: 130 } as const;

// Each command's code is read when it is called: `tenon --help` touches no engine and no addon.

function makeProgram(context: CommandContext): Command {
  const program = new Command('tenon')
    .description('Runs, serves and describes ONNX and TensorFlow models.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [command]', 'print help for a command')
    .addOption(debugOption)
    .exitOverride()
    // `engines install --version` is the engine's version, not ours.
    .enablePositionalOptions()
    .showHelpAfterError('(add --help for what can be given)')
    .addHelpText(
      'after',
      `
Examples:
  tenon inspect models/mobilenetv2
  tenon run digits.onnx --input images=@digit.npy
  tenon types digits.onnx --out lib/digits.ts
  tenon tune digits.onnx --target-p99-ms 5
  tenon serve --model_name=digits --model_base_path=models/digits
  tenon replay records/*.tfrecord --url grpc://localhost:8500
  tenon engines install tensorflow

Exit codes: 0 done, 1 failed, 2 called wrongly, 130 interrupted.`,
    );

  program
    .command('inspect')
    .description('print what a model says about itself; needs no engine')
    .argument('<model>', 'an .onnx, .ort or .pb file, a SavedModel folder, a folder of versions')
    .option('--json', 'print JSON')
    .option(
      '-t, --tags <tags>',
      'SavedModel: the meta graph with these tags, "serve,gpu"',
      splitTags,
    )
    .option('-a, --all', 'every meta graph, every operator')
    .addHelpText(
      'after',
      `
Examples:
  tenon inspect half_plus_two
  tenon inspect bert.onnx --json | jq .onnx.opsets`,
    )
    .action(async (model: string, options: object) => {
      const { inspectCommand } = await import('./commands/inspect.js');
      await inspectCommand(model, options);
    });

  program
    .command('run')
    .description('run a model once, or several times')
    .argument('<model>', 'as for inspect')
    .option(
      '-i, --input <name=value>',
      'a value as JSON, a bare string, or @file (.npy, .json; any file for strings); repeatable',
      collect,
    )
    .option('--inputs-json <file>', 'a JSON object with a value per input; - for stdin')
    .option('-s, --signature <name>', 'the signature to call')
    .option('-t, --tags <tags>', 'SavedModel: the meta graph with these tags', splitTags)
    .option(
      '-o, --output <name[=file]>',
      'only these outputs; written to a .npy or .json file if one is named; repeatable',
      collect,
    )
    .option('--json', 'print JSON')
    .option('-n, --repeat <n>', 'run n times and print how long it took', positiveInteger)
    .addHelpText(
      'after',
      `
Values:
  --input x=3                      a number; the model settles dtype and shape
  --input 'x=[[1, 2], [3, 4]]'     nested arrays
  --input text=hello               a string, where the input takes strings
  --input 'text={"b64": "AP8="}'   bytes
  --input image=@photo.jpg         the bytes of a file, where the input takes strings
  --input x=@x.npy                 an array that NumPy saved

Examples:
  tenon run half_plus_two --input 'x=[1, 2, 5]'
  tenon run digits.onnx --input images=@digit.npy --output probabilities=p.npy
  tenon run frozen.pb --input x=1 --input y=2 --output sum`,
    )
    .action(async (model: string, options: object) => {
      const { runCommand } = await import('./commands/run.js');
      await runCommand(model, options);
    });

  program
    .command('types')
    .description("write a model's feeds and outputs as TypeScript types; needs no engine")
    .argument('<model>', 'as for inspect')
    .option('-o, --out <file>', 'write this file instead of printing')
    .option('--name <name>', 'the name of the type (default: after the model)')
    .option('-t, --tags <tags>', 'SavedModel: the meta graph with these tags', splitTags)
    .addHelpText(
      'after',
      `
Examples:
  tenon types digits.onnx
  tenon types models/ranker --name Ranker --out lib/ranker-types.ts`,
    )
    .action(async (model: string, options: object) => {
      const { typesCommand } = await import('./commands/types.js');
      await typesCommand(model, options);
    });

  program
    .command('tune')
    .description('find the settings that serve a model best on this machine')
    .argument('<model>', 'as for inspect')
    .option(
      '-i, --input <name=value>',
      'a sample, as for run; inputs of floats without one get random numbers; repeatable',
      collect,
    )
    .option('--inputs-json <file>', 'a JSON object with a sample per input; - for stdin')
    .option('-s, --signature <name>', 'the signature to call')
    .option('-t, --tags <tags>', 'SavedModel: the meta graph with these tags', splitTags)
    .addOption(
      new Option('--for <what>', 'what is best (default: throughput)').choices([
        'throughput',
        'latency',
      ]),
    )
    .option('--target-p99-ms <ms>', 'milliseconds that 99 of 100 requests may take', positiveNumber)
    .option(
      '--in-flight <counts>',
      'numbers of requests in flight, "1,8,32" (default: those)',
      positiveIntegers,
    )
    .option('--max-minutes <minutes>', 'for all together (default: 5)', positiveNumber)
    .option(
      '--seconds <s>',
      'how long the last round measures each number in flight (default: 3)',
      positiveNumber,
    )
    .option('--seed <n>', 'settles what is tried, and random feeds (default: 1)', wholeNumber)
    .addOption(
      new Option('--search <how>', 'race, or everything at full length (default: race)').choices([
        'race',
        'exhaustive',
      ]),
    )
    .option('--space <json>', 'values to try for some settings, {"sessions": [1]}')
    .option('-o, --out <file>', 'the options file (default: <model>.tenon.json)')
    .option('--no-out', 'write no options file')
    .option('--report <file>', 'write a report as an HTML page')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Ctrl-C ends the search; what was measured is printed and written (exit code 130).

Examples:
  tenon tune digits.onnx --target-p99-ms 5 --report digits.html
  tenon tune bert.onnx --input ids=@ids.npy --input mask=@mask.npy --max-minutes 10
  tenon tune models/mobilenetv2 --for latency --in-flight 1,4`,
    )
    .action(async (model: string, options: object) => {
      const { tuneCommand } = await import('./commands/tune.js');
      await tuneCommand(model, options, context.interruptSignal(), packageVersion());
    });

  program
    .command('serve')
    .description('serve models as TensorFlow Serving does; tenon serve --help lists the flags')
    .argument('[flags...]', "tensorflow_model_server's flags and ours")
    // The flags are not commander's: unknown ones are passed over, names have underscores.
    .helpOption(false)
    .allowUnknownOption()
    .action(async (flags: string[]) => {
      const { serveCommand } = await import('./commands/serve.js');
      await serveCommand(flags, packageVersion());
    });

  program
    .command('replay')
    .description('send recorded requests again, and compare the answers')
    .argument('<records...>', 'files of records, as tenon serve --record writes them')
    .option('--url <url>', 'where to send them: http://host:port, grpc://host:port (https, grpcs)')
    .option('--model <model>', 'or a model to run them on here, as for inspect')
    .option('--against <where>', 'a second address or model, compared with in place of the record')
    .option('-c, --concurrency <n>', 'requests at the same time (default: 1)', positiveInteger)
    .option('-n, --repeat <n>', 'how often each is sent (default: 1)', positiveInteger)
    .option('--rate <n>', 'requests a second at most', positiveNumber)
    .option('--limit <n>', 'requests of the files at most', positiveInteger)
    .option('--timeout-ms <ms>', 'for an answer (default: 30000)', positiveInteger)
    .option('--tolerance <x>', 'the largest difference that is no failure (default: 0.001)', amount)
    .option('--min-agreement <share>', 'part of the rows that must agree (default: 0)', amount)
    .option('--max-failures <n>', 'requests that may fail (default: 0)', wholeNumber)
    .option('--ca <file>', "PEM file of who signed the server's certificate")
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
An address may end in /v1/models/NAME, with /versions/N or /labels/LABEL: all requests go to that
model. TENON_AUTH_TOKEN is sent as a bearer token. The exit code is 1 over a limit.

Examples:
  tenon replay records/digits.*.tfrecord --url grpc://localhost:8500 --concurrency 8
  tenon replay records/digits.*.tfrecord --model models/digits/4 --tolerance 1e-5
  tenon replay digits.tfrecord --url http://localhost:8501/v1/models/digits/labels/canary \\
    --against http://localhost:8501/v1/models/digits/labels/stable --min-agreement 0.99`,
    )
    .action(async (records: string[], options: object) => {
      const { replayCommand } = await import('./commands/replay.js');
      await replayCommand(records, options, context.interruptSignal());
    });

  const engines = program
    .command('engines')
    .description('print which engines are found, where, and what they can use')
    .option('--json', 'print JSON')
    .action(async (options: object) => {
      const { listCommand } = await import('./commands/engines.js');
      await listCommand(options);
    });
  engines
    .command('install')
    .description("get an engine's library into Tenon's cache folder")
    .argument('<name>', 'tensorflow or onnxruntime')
    .option('--from <source>', 'a wheel, archive, library, folder or URL')
    .option('--version <version>', 'the version to get')
    .option('--sha256 <hex>', 'what the archive must hash to')
    .option('--force', 'install again over a complete install')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  tenon engines install tensorflow
  tenon engines install tensorflow --from ./libtensorflow-cpu-linux-x86_64.tar.gz`,
    )
    .action(async (name: string, options: object) => {
      const { installCommand } = await import('./commands/engines.js');
      await installCommand(name, options, context.interruptSignal());
    });
  for (const command of [...program.commands, ...engines.commands]) command.addOption(debugOption);
  return program;
}

function positiveInteger(value: string): number {
  const number = Number(value);
  if (!/^\d+$/.test(value) || number < 1 || !Number.isSafeInteger(number)) {
    throw new InvalidArgumentError('expected a number of 1 or more.');
  }
  return number;
}

function wholeNumber(value: string): number {
  const number = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(number)) {
    throw new InvalidArgumentError('expected a whole number.');
  }
  return number;
}

function positiveNumber(value: string): number {
  const number = Number(value);
  if (!/^[\d.]+$/.test(value) || !Number.isFinite(number) || number <= 0) {
    throw new InvalidArgumentError('expected a number above 0.');
  }
  return number;
}

function amount(value: string): number {
  const number = Number(value);
  if (value.trim() === '' || !(number >= 0)) {
    throw new InvalidArgumentError('expected a number of 0 or more.');
  }
  return number;
}

function positiveIntegers(value: string): number[] {
  return value.split(',').map((each) => positiveInteger(each.trim()));
}

/** What is printed for an error: the message and its code, all causes and the stack on request. */
function report(error: unknown, isDebugging: boolean): void {
  if (isDebugging) {
    console.error(error);
    return;
  }
  if (!(error instanceof Error)) {
    console.error(`error: ${String(error)}`);
    return;
  }
  const code = 'code' in error && typeof error.code === 'string' ? ` [${error.code}]` : '';
  // Messages quote names from models.
  const message = error.message.split('\n').map(printable).join('\n');
  console.error(`error: ${message}${code}`);
}

async function main(): Promise<void> {
  // `tenon … | head` closes the pipe: that is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit();
    throw error;
  });

  const interrupt = new AbortController();
  let isHandled = false;
  process.on('SIGINT', () => {
    if (!isHandled || interrupt.signal.aborted) process.exit(exitCodes.interrupted);
    interrupt.abort(new Error('interrupted'));
  });
  const program = makeProgram({
    interruptSignal() {
      isHandled = true;
      return interrupt.signal;
    },
  });

  try {
    await program.parseAsync();
  } catch (error) {
    if (interrupt.signal.aborted) {
      process.exitCode = exitCodes.interrupted;
    } else if (error instanceof CommanderError) {
      // commander has printed its message; help that was asked for is no error.
      process.exitCode = error.exitCode === 0 ? 0 : exitCodes.usage;
    } else {
      const isDebugging = process.argv.includes('--debug') || Boolean(process.env['TENON_DEBUG']);
      report(error, isDebugging);
      process.exitCode = error instanceof UsageError ? exitCodes.usage : exitCodes.failure;
    }
  }
}

await main();
