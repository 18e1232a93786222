/**
 * The flags of `tenon serve`: those of tensorflow_model_server with their meaning, and ours in the
 * same style.
 */

import { TenonError } from '../../errors.js';

/** By how often people need them. */
export const flagGroups = {
  models: 'What to serve',
  network: 'Where to listen',
  batching: 'Batching and threads',
  versions: 'Loading and versions',
  operations: 'Logs, metrics, shutdown',
  traffic: 'Traffic and records',
  security: 'TLS and access',
  limits: 'Limits',
  tensorflow: 'TensorFlow',
  accepted: 'Accepted because tensorflow_model_server has them; nothing follows',
} as const;

export type FlagGroup = keyof typeof flagGroups;

interface FlagKinds {
  bool: boolean;
  int: number;
  float: number;
  string: string;
}

interface Flag<K extends keyof FlagKinds = keyof FlagKinds> {
  readonly kind: K;
  readonly default: FlagKinds[K];
  readonly group: FlagGroup;
  readonly help: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly choices?: readonly string[];
}

type Details = Pick<Flag, 'minimum' | 'maximum' | 'choices'>;

function flag<K extends keyof FlagKinds>(
  kind: K,
  fallback: FlagKinds[K],
  group: FlagGroup,
  help: string,
  details: Details = {},
): Flag<K> {
  return { kind, default: fallback, group, help, ...details };
}

const bool = (fallback: boolean, group: FlagGroup, help: string): Flag<'bool'> =>
  flag('bool', fallback, group, help);
const text = (fallback: string, group: FlagGroup, help: string, details?: Details) =>
  flag('string', fallback, group, help, details);
const whole = (fallback: number, group: FlagGroup, help: string, details: Details = {}) =>
  flag('int', fallback, group, help, { minimum: 0, maximum: 2 ** 31 - 1, ...details });
const wide: Details = { maximum: Number.MAX_SAFE_INTEGER };
const share: Details = { minimum: 0, maximum: 1 };
const ports: Details = { maximum: 65535 };
const level = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];

const flags = {
  model_name: text('default', 'models', 'name of the one model of --model_base_path'),
  model_base_path: text(
    '',
    'models',
    'folder with version folders (1, 2, …), or a model itself; absolute or relative',
  ),
  model_config_file: text(
    '',
    'models',
    'several models: a ModelServerConfig as text proto, .yaml or .json; read again at SIGHUP',
  ),
  model_config_file_poll_wait_seconds: whole(
    0,
    'models',
    'seconds between looks at that file for changes; 0: none',
  ),

  port: whole(8500, 'network', 'gRPC; 0: none. Given here, it listens on all interfaces', ports),
  rest_api_port: whole(
    0,
    'network',
    'REST; 0: none. Given here, it listens on all interfaces. With neither port given, both are there on loopback, REST at 8501',
    ports,
  ),
  host: text('', 'network', 'address to listen on for both, instead: 0.0.0.0, ::, 127.0.0.1'),
  grpc_socket_path: text('', 'network', 'unix socket for gRPC besides'),
  rest_api_socket_path: text('', 'network', 'unix socket for REST besides'),
  rest_api_timeout_in_ms: whole(30_000, 'network', 'milliseconds that a REST request may run'),
  rest_api_enable_cors_support: bool(false, 'network', 'answer requests of pages of any origin'),
  rest_api_page: text(
    'auto',
    'network',
    'GET / of REST is a page to look at: on, off, or auto: where REST listens on loopback only',
    { choices: ['auto', 'on', 'off'] },
  ),
  enable_grpc_healthcheck_service: bool(true, 'network', 'grpc.health.v1.Health'),
  enable_grpc_reflection: bool(true, 'network', 'gRPC server reflection'),
  grpc_channel_arguments: text('', 'network', 'channel options of gRPC, "name=value,name=value"'),
  enable_serialization_as_tensor_content: bool(
    false,
    'network',
    'gRPC answers carry tensor_content instead of typed values',
  ),

  enable_batching: bool(false, 'batching', 'requests that come together run as one'),
  batching_parameters_file: text(
    '',
    'batching',
    'BatchingParameters as text proto, .yaml or .json',
  ),
  enable_per_model_batching_parameters: bool(
    false,
    'batching',
    "batching_params.pbtxt in a version's folder wins over that file",
  ),
  tensorflow_intra_op_parallelism: whole(0, 'batching', 'threads of one operation; 0: the quota'),
  tensorflow_inter_op_parallelism: whole(0, 'batching', 'operations side by side; 0: the quota'),
  tensorflow_session_parallelism: whole(0, 'batching', 'both of these, where they are 0'),
  frontend_threads: whole(
    0,
    'batching',
    'threads that parse requests and write answers; 0: the main one',
    { maximum: 128 },
  ),

  file_system_poll_wait_seconds: whole(
    1,
    'versions',
    'seconds between looks for versions; 0: once at start',
  ),
  enable_model_warmup: bool(true, 'versions', 'run the warm-up records of a version first'),
  max_num_load_retries: whole(5, 'versions', 'tries after a failed load'),
  load_retry_interval_micros: whole(60_000_000, 'versions', 'microseconds between them', wide),
  num_load_threads: whole(0, 'versions', 'versions that load at the same time; 0: a default'),
  allow_version_labels_for_unavailable_models: bool(
    false,
    'versions',
    'labels may name versions that are not there yet',
  ),
  saved_model_tags: text('serve', 'versions', 'tags of the meta graph, "serve,gpu"'),

  log_level: text('info', 'operations', 'least severe records to log', { choices: level }),
  log_format: text('auto', 'operations', 'json, pretty, or auto: pretty on a terminal', {
    choices: ['auto', 'json', 'pretty'],
  }),
  log_file: text('', 'operations', 'file to log to instead of stderr'),
  request_log_sampling_rate: flag(
    'float',
    0,
    'operations',
    'share of the requests that are logged, 0 to 1; with it all that fail with a 5xx',
    share,
  ),
  trace_sampling_rate: flag(
    'float',
    1,
    'operations',
    'share of the requests that begin a trace, 0 to 1; those of a trace are always in it',
    share,
  ),
  monitoring_config_file: text(
    '',
    'operations',
    'MonitoringConfig as text proto, .yaml or .json: enables /monitoring/prometheus/metrics',
  ),
  shutdown_delay_ms: whole(
    0,
    'operations',
    'milliseconds after SIGTERM that it goes on serving, not ready, so that load balancers notice',
  ),
  shutdown_timeout_ms: whole(
    25_000,
    'operations',
    'milliseconds for requests in flight after that; then they are aborted',
  ),

  traffic_config_file: text(
    '',
    'traffic',
    'routes, shadows and rollouts by model, .yaml or .json; read again at SIGHUP',
  ),
  route_weights: text(
    '',
    'traffic',
    'parts of the requests that name no version, by label or version: stable=90,canary=10',
  ),
  shadow_to: text('', 'traffic', 'label or version that runs a share of such requests as well'),
  shadow_share: flag('float', 0.01, 'traffic', 'that share, 0 to 1', share),
  record: text('', 'traffic', 'folder to record requests to, as warm-up records'),
  record_sampling_rate: flag(
    'float',
    0.01,
    'traffic',
    'share of the requests that are recorded, 0 to 1',
    share,
  ),
  record_max_file_bytes: whole(16 * 2 ** 20, 'traffic', 'bytes of a file of records', {
    minimum: 1024,
  }),
  record_max_files: whole(16, 'traffic', 'files of records in all; the oldest goes for a new one', {
    minimum: 1,
    maximum: 10_000,
  }),
  record_responses: bool(true, 'traffic', 'record answers as well, for tenon replay'),

  ssl_config_file: text('', 'security', 'SSLConfig for gRPC: key, certificate, client CA'),
  rest_api_ssl_config_file: text('', 'security', 'the same for REST; it may be the same file'),
  auth_token_file: text(
    '',
    'security',
    'file with a bearer token that requests must carry (or TENON_AUTH_TOKEN); health is exempt',
  ),

  max_body_bytes: whole(256 * 2 ** 20, 'limits', 'bytes of a REST body, more is 413'),
  max_pending_body_bytes: whole(
    2 ** 30,
    'limits',
    'bytes of all REST bodies under way, more is 503',
    wide,
  ),
  max_grpc_message_bytes: whole(2 ** 31 - 1, 'limits', 'bytes of a gRPC request'),
  max_concurrent_requests: whole(
    2000,
    'limits',
    'requests under way in all, more is 503; 0: no limit',
  ),
  max_queued_runs: whole(16_384, 'limits', 'runs of a model that wait for a lane, more is 503'),
  max_connections: whole(20_000, 'limits', 'connections of each port; 0: no limit'),
  rest_api_header_timeout_ms: whole(10_000, 'limits', 'milliseconds to send the headers in'),
  rest_api_body_timeout_ms: whole(120_000, 'limits', 'milliseconds to send a whole request in'),
  rest_api_idle_timeout_ms: whole(75_000, 'limits', 'milliseconds an idle connection stays'),

  tensorflow_session_config_file: text('', 'tensorflow', 'ConfigProto as text proto'),
  platform_config_file: text(
    '',
    'tensorflow',
    'PlatformConfigMap as text proto; its session and batching settings win over flags',
  ),
  per_process_gpu_memory_fraction: flag(
    'float',
    0,
    'tensorflow',
    'share of GPU memory to take; 0: nearly all',
    share,
  ),
  enable_signature_method_name_check: bool(
    false,
    'tensorflow',
    "classify and regress demand the signature's method name",
  ),

  grpc_max_threads: whole(0, 'accepted', 'see --frontend_threads'),
  rest_api_num_threads: whole(0, 'accepted', 'see --frontend_threads'),
  num_unload_threads: whole(0, 'accepted', 'unloading never waits for another'),
  flush_filesystem_caches: bool(true, 'accepted', 'pages of loaded files are the system’s to drop'),
  prefer_tflite_model: bool(false, 'accepted', 'no TFLite models'),
  num_tflite_pools: whole(1, 'accepted', 'no TFLite models'),
  num_tflite_interpreters_per_pool: whole(1, 'accepted', 'no TFLite models'),
  enable_profiler: bool(true, 'accepted', 'no ProfilerService'),
  use_alts_credentials: bool(false, 'accepted', 'no ALTS; see --ssl_config_file'),
  xla_cpu_compilation_enabled: bool(false, 'accepted', 'see tensorflow_session_config_file'),
  xla_gpu_compilation_enabled: bool(false, 'accepted', 'see tensorflow_session_config_file'),
  num_request_iterations_for_warmup: whole(1, 'accepted', 'each record runs once'),
  thread_pool_factory_config_file: text('', 'accepted', 'see the flags of threads'),
  mixed_precision: text('', 'accepted', 'see tensorflow_session_config_file'),
  remove_unused_fields_from_bundle_metagraph: bool(true, 'accepted', 'the graph is read anew'),
  skip_initialize_tpu: bool(false, 'accepted', 'no TPU'),
} satisfies Record<string, Flag>;

export type FlagName = keyof typeof flags;

/** The value of each flag, given or not. */
export type FlagValues = {
  readonly [name in FlagName]: FlagKinds[(typeof flags)[name]['kind']];
};

export const flagNames = Object.keys(flags) as FlagName[];

export interface ParsedFlags {
  readonly values: FlagValues;
  /** Those that the command line had. */
  readonly given: ReadonlySet<FlagName>;
  /** Arguments that are no flag of ours, as they came. */
  readonly unknown: readonly string[];
  readonly wantsHelp: boolean;
  readonly wantsVersion: boolean;
}

/**
 * Reads `--name=value`, `--name value` and, for a bool, `--name`; dashes in a name count as
 * underscores. What comes twice counts as it came last. Unknown arguments are left to the caller,
 * as tensorflow_model_server goes on without them.
 *
 * @throws ERR_TENON_INVALID_ARGUMENT for a value that is none of the flag's kind.
 */
export function parseFlags(args: readonly string[]): ParsedFlags {
  const values = Object.fromEntries(flagNames.map((name) => [name, flags[name].default])) as Record<
    FlagName,
    FlagKinds[keyof FlagKinds]
  >;
  const given = new Set<FlagName>();
  const unknown: string[] = [];
  let wantsHelp = false;
  let wantsVersion = false;
  for (let i = 0; i < args.length; i++) {
    const argument = args[i] as string;
    const [, written, ownValue] = /^--([\w-]+)(?:=(.*))?$/s.exec(argument) ?? [];
    const name = written?.replaceAll('-', '_');
    if (argument === '-h' || name === 'help') wantsHelp = true;
    else if (name === 'version') wantsVersion = ownValue === undefined || ownValue === 'true';
    else if (name === undefined || !isFlag(name)) unknown.push(argument);
    else {
      let value = ownValue;
      const next = args[i + 1];
      if (value === undefined && flags[name].kind !== 'bool' && next?.startsWith('--') === false) {
        value = next;
        i++;
      }
      values[name] = valueOf(name, value);
      given.add(name);
    }
  }
  return { values: values as FlagValues, given, unknown, wantsHelp, wantsVersion };
}

function isFlag(name: string): name is FlagName {
  return Object.hasOwn(flags, name);
}

function valueOf(name: FlagName, given: string | undefined): FlagKinds[keyof FlagKinds] {
  const flag: Flag = flags[name];
  const expected = (what: string): TenonError =>
    new TenonError(
      'ERR_TENON_INVALID_ARGUMENT',
      `expected ${what} for "--${name}", received ${given === undefined ? 'none' : JSON.stringify(given)}`,
    );
  if (flag.kind === 'bool') {
    if (given === undefined || /^(true|1)$/i.test(given)) return true;
    if (/^(false|0)$/i.test(given)) return false;
    throw expected('true or false');
  }
  if (flag.kind === 'string') {
    if (given === undefined) throw expected('a value');
    if (flag.choices !== undefined && !flag.choices.includes(given)) {
      throw expected(`one of ${flag.choices.join(', ')}`);
    }
    return given;
  }
  const { minimum = -Infinity, maximum = Infinity } = flag;
  const number = Number(given);
  const isNumber =
    flag.kind === 'int'
      ? /^[+-]?\d+$/.test(given ?? '')
      : /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(given ?? '');
  if (!isNumber || number < minimum || number > maximum) {
    throw expected(
      `${flag.kind === 'int' ? 'a whole number' : 'a number'} from ${minimum} to ${maximum}`,
    );
  }
  return number;
}

/** Flags that were given and that nothing follows from, with the reason. */
export function idleFlags({ values, given }: ParsedFlags): { name: FlagName; reason: string }[] {
  return flagNames
    .filter((name) => {
      const flag: Flag = flags[name];
      return flag.group === 'accepted' && given.has(name) && values[name] !== flag.default;
    })
    .map((name) => ({ name, reason: flags[name].help }));
}

/** The flag that an unknown argument may have meant. */
export function nearestFlag(argument: string): FlagName | undefined {
  const name = /^--?([\w-]+)/.exec(argument)?.[1]?.replaceAll('-', '_');
  if (name === undefined) return undefined;
  const [nearest] = flagNames
    .map((flag) => ({ flag, distance: editDistance(name, flag) }))
    .sort((a, b) => a.distance - b.distance);
  return nearest !== undefined && nearest.distance <= Math.max(2, name.length / 4)
    ? nearest.flag
    : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= Math.min(a.length, 100); i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}

/** The text of `tenon serve --help`. */
export function flagsHelp(): string {
  const sections = (Object.keys(flagGroups) as FlagGroup[]).map((group) => {
    const rows = flagNames
      .filter((name) => flags[name].group === group)
      .map((name) => {
        const { kind, default: fallback, help }: Flag = flags[name];
        const value = kind === 'bool' ? '' : `=<${kind === 'string' ? 'text' : kind}>`;
        const note =
          group === 'accepted' || fallback === '' ? '' : ` (default: ${String(fallback)})`;
        return `  --${name}${value}\n${indented(`${help}${note}`)}`;
      });
    return `${flagGroups[group]}:\n${rows.join('\n')}`;
  });
  return `Usage: tenon serve --model_name=<name> --model_base_path=<folder> [flags]
       tenon serve --model_config_file=<file> [flags]

Serves ONNX and TensorFlow models with the REST and gRPC APIs of TensorFlow Serving.

${sections.join('\n\n')}

  --version
      print the version
  --help
      print this

Environment: MODEL_NAME and MODEL_BASE_PATH (default /models) where no flag names a model, as in
TensorFlow Serving's image; TENON_AUTH_TOKEN.
Signals: SIGTERM and SIGINT end it gracefully, the second at once; SIGHUP reads the files again.`;
}

function indented(help: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of help.split(' ')) {
    if (line.length + word.length > 88) {
      lines.push(line);
      line = '';
    }
    line += `${line === '' ? '' : ' '}${word}`;
  }
  return [...lines, line].map((each) => `      ${each}`).join('\n');
}
