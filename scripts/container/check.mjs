// `npm run check:container`: what the Dockerfile says, done without a container engine: its own steps in
// roots made by debootstrap, and its result started as process 1 on a read-only root. Needs root on a
// Debian with debootstrap, and ip, unshare and nsenter.
//
//   npm run check:container -- [--engines "onnxruntime tensorflow"] [--base base.tar] [--mirror URL]
//     [--with /etc/pip.conf …]   paths of this machine that the steps see, read-only
//     [--env PIP_CERT …]         variables of this machine that the steps see
//     [--reuse "build install"]    stages that an earlier run has built
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { fail, onPath, output, root, run } from '../run-command.mjs';
import { fill, pairs, readDockerfile, splitAt } from './dockerfile.mjs';
import { runBeside, runStep, startContainer } from './jail.mjs';

const { values } = parseArgs({
  options: {
    engines: { type: 'string', default: 'onnxruntime tensorflow' },
    base: { type: 'string' },
    mirror: { type: 'string' },
    with: { type: 'string', multiple: true, default: [] },
    env: { type: 'string', multiple: true, default: [] },
    reuse: { type: 'string', default: '' },
  },
});
const work = path.join(root, 'build/container');
const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const stages = readDockerfile(path.join(root, 'Dockerfile'), { NODE_IMAGE: 'base' });

if (process.getuid() !== 0) fail('expected to be root');
for (const command of ['debootstrap', 'ip', 'unshare', 'nsenter', 'tar']) {
  if (!onPath(command)) fail(`expected ${command} on this machine`);
}
mkdirSync(work, { recursive: true });

const image = { env: { PATH: defaultPath }, workdir: '/', user: '0:0', entrypoint: [], labels: {} };
for (const stage of stages) build(stage);
for (const engine of values.engines.split(' ')) await tryOut(engine);
console.log('\nthe container is as it should be');

function rootOf(name) {
  return path.join(work, name);
}

/** Debian with this machine's Node and npm, and the user that the official image has. */
function makeBase(folder) {
  const tar = values.base ?? path.join(work, 'base.tar');
  mkdirSync(folder, { recursive: true });
  if (!existsSync(tar)) {
    const sources = output('sh', [
      '-c',
      'cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null || true',
    ]);
    const mirror = values.mirror ?? /^(?:URIs:|deb)\s+(\S+)/m.exec(sources)?.[1];
    const made = rootOf('debootstrap');
    rmSync(made, { recursive: true, force: true });
    run('debootstrap', ['--variant=minbase', 'bookworm', made, ...(mirror ? [mirror] : [])]);
    run('tar', [
      '-cf',
      tar,
      `--directory=${work}`,
      '--transform=s,^debootstrap,base,',
      'debootstrap',
    ]);
    rmSync(made, { recursive: true });
  }
  run('tar', ['-xf', tar, `--directory=${folder}`, '--strip-components=1']);
  cpSync(realpathSync(process.execPath), path.join(folder, 'usr/local/bin/node'));
  const npm = path.resolve(realpathSync(output('which', ['npm']).trim()), '../..');
  cpSync(npm, path.join(folder, 'usr/local/lib/node_modules/npm'), { recursive: true });
  runStep(folder, {
    command:
      'ln -sf ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && groupadd --gid 1000 node && useradd --uid 1000 --gid node --create-home node',
    env: { PATH: defaultPath },
    workdir: '/',
    binds: [],
  });
}

function build({ from, name, steps }) {
  if (from !== 'base') fail(`expected FROM \${NODE_IMAGE}, received ${from}`);
  const folder = rootOf(name);
  const isLast = stages.at(-1).name === name;
  const state = isLast ? image : { env: { PATH: defaultPath }, workdir: '/' };
  const isBuilt = values.reuse.split(' ').includes(name);
  if (!isBuilt) {
    rmSync(folder, { recursive: true, force: true });
    console.log(`\n# stage ${name}`);
    makeBase(folder);
  }
  const buildArguments = {};
  const machine = Object.fromEntries(values.env.map((each) => [each, process.env[each] ?? '']));
  for (const { keyword, text, line } of steps) {
    const known = { ...state.env, ...buildArguments };
    switch (keyword) {
      case 'RUN':
        if (isBuilt) break;
        console.log(`\nline ${line}: RUN ${text}`);
        runStep(folder, {
          command: text,
          env: { ...machine, ...known, HOME: '/root' },
          workdir: state.workdir,
          binds: ['/etc/resolv.conf', ...values.with],
        });
        break;
      case 'COPY':
        if (!isBuilt) copy(text, folder, state.workdir);
        break;
      case 'ARG': {
        const [argument, fallback = ''] = splitAt(text, '=');
        const given = argument === 'ENGINES' ? values.engines : undefined;
        buildArguments[argument] = given ?? fallback.replaceAll('"', '');
        break;
      }
      case 'ENV':
        for (const [variable, value] of pairs(text)) state.env[variable] = fill(value, known);
        break;
      case 'WORKDIR':
        state.workdir = text;
        mkdirSync(path.join(folder, text), { recursive: true });
        break;
      case 'USER':
        state.user = text;
        break;
      case 'LABEL':
        Object.assign(state.labels, Object.fromEntries(pairs(text)));
        break;
      case 'ENTRYPOINT':
        state.entrypoint = JSON.parse(text);
        break;
      case 'HEALTHCHECK':
        state.healthcheck = JSON.parse(/CMD\s+(\[[^]*\])$/.exec(text)[1]);
        break;
      case 'EXPOSE':
      case 'STOPSIGNAL':
        state[keyword.toLowerCase()] = text;
        break;
      default:
        fail(`line ${line}: expected an instruction that is known here, received ${keyword}`);
    }
  }
}

/** From another stage, or of the context what .dockerignore leaves. */
function copy(text, folder, workdir) {
  const words = text.split(/\s+/);
  const stage = words[0].startsWith('--from=') ? words.shift().slice('--from='.length) : undefined;
  const target = path.resolve('/', workdir, words.pop());
  const into = path.join(folder, target);
  for (const word of words) {
    if (stage !== undefined) {
      cpSync(path.join(rootOf(stage), word), into, { recursive: true, verbatimSymlinks: true });
    } else if (word === '.') {
      for (const allowed of contextEntries()) {
        cpSync(path.join(root, allowed), path.join(into, allowed), { recursive: true });
      }
    } else {
      if (!contextEntries().some((each) => word === each || word.startsWith(`${each}/`))) {
        fail(`COPY ${word}: .dockerignore leaves it out`);
      }
      cpSync(path.join(root, word), path.join(into, path.basename(word)), { recursive: true });
    }
  }
}

/** Our .dockerignore ignores all but what it names. */
function contextEntries() {
  const lines = readFileSync(path.join(root, '.dockerignore'), 'utf8').split('\n');
  const rules = lines.filter((line) => line !== '' && !line.startsWith('#'));
  if (rules.shift() !== '*' || rules.some((rule) => !/^![\w./-]+$/.test(rule))) {
    fail('expected .dockerignore to ignore all but names');
  }
  return rules.map((rule) => rule.slice(1));
}

async function tryOut(engine) {
  const model = {
    onnxruntime: { name: 'simple_model.onnx', instances: [[1, 2, 3, 4]] },
    tensorflow: { name: 'half_plus_two', instances: [1, 2, 5] },
  }[engine];
  console.log(`\n# ${engine}: started as process 1, read-only`);
  const { user, healthcheck } = image;
  const env = { ...image.env, MODEL_NAME: model.name };
  const container = startContainer(rootOf(stages.at(-1).name), {
    ...image,
    env,
    command: image.entrypoint,
    models: path.join(root, 'test/fixtures/models'),
  });
  let log = '';
  container.stderr.setEncoding('utf8').on('data', (text) => (log += text));
  const ended = once(container, 'exit');
  const beside = (command, as = user) => runBeside(pid, { command, env, user: as });
  const pid = await processOf(container, () => log);
  try {
    const healthStarted = performance.now();
    while (beside(healthcheck).status !== 0) {
      if (performance.now() - healthStarted > 60_000)
        throw new Error('the HEALTHCHECK stays unhealthy');
      await after(200);
    }
    console.log(`HEALTHCHECK: healthy after ${Math.round(performance.now() - healthStarted)} ms`);
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const field = (name) => new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(status)[1];
    expect('user', field('Uid').split('\t')[0], user.split(':')[0]);
    expect('process', field('NSpid').split('\t').at(-1), '1');
    expect('capabilities', field('CapEff'), '0000000000000000');
    for (const place of ['/', '/tmp', '/opt/tenon', '/models', '/home/node']) {
      const { stderr } = beside(['touch', `${place}/written`], '0:0');
      if (!/Read-only file system/.test(stderr))
        throw new Error(`${place} can be written to: ${stderr}`);
    }
    console.log('/, /tmp, /opt/tenon, /models and /home/node: read-only, for root too');
    const predict = `fetch('http://127.0.0.1:8501/v1/models/${model.name}:predict', { method: 'POST', body: '${JSON.stringify({ instances: model.instances })}' }).then(async (r) => console.log(r.status, (await r.text()).replace(/\\s+/g, ' ')))`;
    const answer = beside(['node', '-e', predict]).stdout.trim();
    if (!answer.startsWith('200 ')) throw new Error(`expected an answer, received ${answer}`);
    console.log(`predict: ${answer}`);
  } catch (error) {
    container.kill('SIGKILL');
    fail(`${error.message}\n${log}`);
  }
  process.kill(pid, image.stopsignal);
  const [code, signal] = await ended;
  if (code !== 0) fail(`expected exit code 0, received ${code ?? signal}\n${log}`);
  console.log(
    `${image.stopsignal}: exit code 0; last said: ${JSON.parse(log.trim().split('\n').at(-1)).msg}`,
  );
}

function expect(what, received, wanted) {
  if (received !== wanted) throw new Error(`expected ${what} ${wanted}, received ${received}`);
  console.log(`${what}: ${received}`);
}

/** The process that unshare has started, once it is what the image says. */
async function processOf({ pid: parent, exitCode }, log) {
  for (let tries = 0; tries < 500 && exitCode === null; tries++) {
    const [child] = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8')
      .trim()
      .split(' ');
    const command = child ? readFileSync(`/proc/${child}/cmdline`, 'utf8') : '';
    if (command.startsWith(`${image.entrypoint[0]}\0`)) return Number(child);
    await after(20);
  }
  return fail(`the container did not start: ${log()}`);
}
