import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { validate } from 'dockerfile-utils';
import { describe, expect, it } from 'vitest';

import { pairs, readDockerfile } from '../../scripts/container/dockerfile.mjs';
import { idleFlags, parseFlags } from '../../lib/server/config/flags.js';
import { serveSettings } from '../../lib/server/config/from-flags.js';
import { readManifests } from '../helpers/kustomize.mjs';
import { root } from '../helpers/paths.js';

// The Dockerfile by a linter, and against the server; `npm run check:container` does what it says.

const file = path.join(root, 'Dockerfile');
const last = readDockerfile(file).at(-1);
const of = (keyword: string): string =>
  last?.steps.find((step) => step.keyword === keyword)?.text ?? '';
const env = Object.fromEntries(pairs(of('ENV')));
const [, , ...entrypoint] = JSON.parse(of('ENTRYPOINT')) as string[];

describe('the Dockerfile', () => {
  it('has nothing that a linter finds', () => {
    expect(validate(readFileSync(file, 'utf8'), {})).toEqual([]);
  });

  it('is looked at by a linter that finds faults', () => {
    const broken = readFileSync(file, 'utf8').replace('EXPOSE 8500', 'EXPOSED 8500');
    expect(validate(broken, {}).length).toBeGreaterThan(0);
  });

  it('starts the server with flags that it knows', () => {
    expect(entrypoint[0]).toBe('serve');
    const flags = parseFlags(entrypoint.slice(1));
    expect(flags.unknown).toEqual([]);
    expect(idleFlags(flags)).toEqual([]);
    const { port, rest_api_port: restPort } = flags.values;
    expect(of('EXPOSE').split(' ').map(Number)).toEqual([port, restPort]);
    expect(env['TENON_HEALTH_URL']).toBe(`http://127.0.0.1:${restPort}/healthz/ready`);
  });

  it.each([
    [{}, [], 'model', '/models/model'],
    [{ MODEL_NAME: 'half' }, [], 'half', '/models/half'],
    [{ MODEL_NAME: 'half', MODEL_BASE_PATH: '/data' }, [], 'half', '/data/half'],
    [{}, ['--model_name=m', '--model_base_path=/mnt/models'], 'm', '/mnt/models'],
  ])('serves, with %j and %j, the model %s of %s', async (given, flags, name, basePath) => {
    const { options } = await serveSettings(parseFlags([...entrypoint.slice(1), ...flags]), {
      ...env,
      ...given,
    });
    expect(options.models).toMatchObject({ models: [{ name, basePath }] });
  });

  it('runs as the user of the manifests, and has the version of the package', () => {
    const [deployment] = readManifests(path.join(root, 'deploy/workload/deployment.yaml'));
    const { spec } = (deployment as { spec?: { template: { spec: object } } }).spec?.template ?? {};
    const { runAsUser, runAsGroup } = (
      spec as { securityContext: { runAsUser: number; runAsGroup: number } }
    ).securityContext;
    expect(of('USER')).toBe(`${runAsUser}:${runAsGroup}`);
    const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
      version: string;
    };
    expect(of('LABEL')).toContain(`image.version="${version}"`);
  });

  it('has the file of metrics that KServe’s runtime names', () => {
    const [runtime] = readManifests(path.join(root, 'deploy/kserve/cluster-serving-runtime.yaml'));
    const { containers } = runtime?.['spec'] as { containers: { args: string[] }[] };
    const flags = parseFlags(containers[0]?.args ?? []);
    const install = readDockerfile(file).find(({ name }) => name === 'install');
    const copied = install?.steps.filter(({ keyword }) => keyword === 'COPY').at(-1)?.text ?? '';
    const name = path.posix.basename(flags.values.monitoring_config_file);
    expect(copied.split(' ').map((each) => path.posix.basename(each))).toContain(name);
    expect(flags.values.monitoring_config_file).toBe(`/opt/tenon/${name}`);
  });

  it('copies what is in the repository', () => {
    const copied = readDockerfile(file)
      .flatMap(({ steps }) => steps)
      .filter(({ keyword, text }) => keyword === 'COPY' && !text.startsWith('--from='))
      .flatMap(({ text }) => text.split(' ').slice(0, -1))
      .filter((name) => name !== '.');
    expect(copied.length).toBeGreaterThan(4);
    expect(copied.filter((name) => !existsSync(path.join(root, name)))).toEqual([]);
  });
});
