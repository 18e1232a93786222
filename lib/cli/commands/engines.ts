import { type EngineName, createProgressBar, engines } from '../../index.js';
import { UsageError, print } from '../context.js';
import { formatJson } from '../json.js';
import { columns, printable, styleOf } from '../terminal.js';

const titles: Readonly<Record<EngineName, string>> = {
  onnxruntime: 'ONNX Runtime',
  tensorflow: 'TensorFlow',
};

export interface ListCommandOptions {
  json?: boolean;
}

export interface InstallCommandOptions {
  from?: string;
  version?: string;
  sha256?: string;
  force?: boolean;
  json?: boolean;
}

export async function listCommand(options: ListCommandOptions): Promise<void> {
  const list = await engines.list();
  if (options.json === true) {
    print(formatJson(list));
    return;
  }
  const style = styleOf(process.stdout);
  const blocks = list.map((status) => {
    const state = status.found ? (status.version ?? 'unusable') : 'not found';
    const rows: [label: string, text: string][] = [];
    if (status.library !== undefined) rows.push(['library', status.library]);
    if (status.foundBy !== undefined) {
      const detail = status.detail ? ` (${status.detail})` : '';
      rows.push(['found by', `${status.foundBy}${detail}`]);
    }
    if (status.providers?.length) rows.push(['providers', status.providers.join(', ')]);
    if (status.devices?.length) rows.push(['devices', status.devices.join(', ')]);
    if (status.found && status.error !== undefined) {
      rows.push(['error', `${status.error.message} [${status.error.code}]`]);
    }
    for (const [index, place] of (status.tried ?? []).entries()) {
      rows.push([index === 0 ? 'looked at' : '', place]);
    }
    if (!status.found) rows.push(['to get it', `tenon engines install ${status.name}`]);
    return [
      `${style.bold(titles[status.name])}  ${state}`,
      ...columns(
        rows.map(([label, text]) => [style.dim(label), printable(text)]),
        2,
      ),
    ].join('\n');
  });
  print(blocks.join('\n\n'));
}

export async function installCommand(
  name: string,
  options: InstallCommandOptions,
  signal: AbortSignal,
): Promise<void> {
  if (name !== 'onnxruntime' && name !== 'tensorflow') {
    throw new UsageError(`expected "tensorflow" or "onnxruntime" to install, received "${name}"`);
  }
  const { json, ...given } = options;
  // A log file is not redrawn: there, only the result is worth a line.
  const bar = process.stderr.isTTY ? createProgressBar(process.stderr, titles[name]) : undefined;
  const installed = await engines
    .install(name, { ...given, signal, onProgress: bar?.onProgress })
    .finally(() => bar?.end());
  if (json === true) {
    print(formatJson(installed));
    return;
  }
  const { version, library, alreadyInstalled } = installed;
  const state = alreadyInstalled ? 'was installed already' : 'is installed';
  print(`${titles[name]} ${version} ${state}: ${library}`);
}
