import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { readModelServerConfig, readMonitoringConfig } from '../../lib/server/config/files.js';
import { idleFlags, parseFlags } from '../../lib/server/config/flags.js';
import { createServer, type Server } from '../../lib/server/create-server.js';
import { kustomize, type Manifest, readManifests } from '../helpers/kustomize.mjs';
import { problemsOf } from '../helpers/manifest-schemas.js';
import { fixture, modelPath, root } from '../helpers/paths.js';
import { ask } from '../helpers/serve.js';

// The manifests in deploy/: each valid by the schema of its kind, all of them true of the server.

const deploy = path.join(root, 'deploy');
const overlays = ['base', 'overlays/monitored', 'overlays/canary', 'overlays/mirror'];
const rendered = new Map(overlays.map((name) => [name, kustomize(path.join(deploy, name))]));
const kserve = readdirSync(path.join(deploy, 'kserve')).flatMap((file) =>
  readManifests(path.join(deploy, 'kserve', file)),
);

/** Of an object, whatever its kind; undefined where there is none. */
function at(object: unknown, pointer: string): unknown {
  return pointer.split('.').reduce<unknown>((each, key) => {
    return (each as Record<string, unknown> | undefined)?.[key];
  }, object);
}

function ofKind(objects: readonly Manifest[], kind: string): Manifest[] {
  return objects.filter((object) => object.kind === kind);
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: number | string };
}

interface Container {
  readonly name: string;
  readonly image: string;
  readonly args: readonly string[];
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe: Probe;
  readonly readinessProbe: Probe;
  readonly livenessProbe: Probe;
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
}

interface PodSpec {
  readonly terminationGracePeriodSeconds?: number;
  readonly containers: readonly Container[];
  readonly volumes?: readonly { readonly name: string }[];
}

const pods = [
  ...[...rendered].flatMap(([overlay, objects]) =>
    ofKind(objects, 'Deployment').map((deployment) => ({
      title: `${overlay}: ${deployment.metadata.name}`,
      pod: at(deployment, 'spec.template.spec') as PodSpec,
    })),
  ),
  ...ofKind(kserve, 'ClusterServingRuntime').map((runtime) => ({
    title: `kserve: ${runtime.metadata.name}`,
    pod: runtime['spec'] as PodSpec,
  })),
];

describe('the schemas', () => {
  const broken = readdirSync(fixture('manifests')).map((file) => {
    const source = readFileSync(fixture('manifests', file), 'utf8');
    const expected = /^# expected: (.+)$/m.exec(source)?.[1] as string;
    return { file, expected, objects: readManifests(fixture('manifests', file)) };
  });

  const all = [...rendered.values(), kserve].flat();
  let problems: string[][];

  beforeAll(() => {
    problems = problemsOf([...all, ...broken.flatMap(({ objects }) => objects)]);
  });

  it('accept every object that kustomize makes of deploy/, and KServe’s', () => {
    expect(all.length).toBeGreaterThan(30);
    const named = all.map(({ kind, metadata }, i) => [`${kind} ${metadata.name}`, problems[i]]);
    expect(named.filter(([, list]) => (list as string[]).length > 0)).toEqual([]);
  });

  it('cover every YAML file in deploy/', () => {
    const files = readdirSync(deploy, { recursive: true, encoding: 'utf8' })
      .map((file) => path.join(deploy, file))
      .filter((file) => statSync(file).isFile());
    const reached = new Set<string>();
    for (const name of overlays) reach(path.join(deploy, name), reached);
    for (const file of readdirSync(path.join(deploy, 'kserve'))) {
      reached.add(path.join(deploy, 'kserve', file));
    }
    // Values of another project's chart.
    reached.add(path.join(deploy, 'components/prometheus/adapter-values.yaml'));
    expect(files.toSorted()).toEqual([...reached].toSorted());
  });

  it('refuse what is broken on purpose', () => {
    expect(broken.length).toBeGreaterThan(8);
    broken.forEach(({ file, expected, objects }, i) => {
      expect(objects, file).toHaveLength(1);
      expect(problems[all.length + i]?.join('\n'), file).toContain(expected);
    });
  });
});

/** Every file that a folder's kustomization names. */
function reach(folder: string, reached: Set<string>): void {
  const file = path.join(folder, 'kustomization.yaml');
  reached.add(file);
  const [kustomization] = readManifests(file);
  const list = (name: string): string[] => (kustomization?.[name] ?? []) as string[];
  const generators = list('configMapGenerator') as unknown as { files: string[] }[];
  const patches = list('patches') as unknown as { path: string }[];
  for (const name of [
    ...list('resources'),
    ...list('components'),
    ...generators.flatMap(({ files }) => files),
    ...patches.map((patch) => patch.path),
  ]) {
    const where = path.join(folder, name);
    if (statSync(where).isDirectory()) reach(where, reached);
    else reached.add(where);
  }
}

describe.each(pods)('the pods of $title', ({ pod }) => {
  const [container] = pod.containers as [Container];
  const flags = parseFlags(container.args);

  it('have flags that the server knows and uses', () => {
    expect(flags.unknown).toEqual([]);
    expect(idleFlags(flags)).toEqual([]);
  });

  it('get the time that the server may take to end', () => {
    const { shutdown_delay_ms: delay, shutdown_timeout_ms: timeout } = flags.values;
    const unloadMs = 5_000;
    // KServe's pods have Kubernetes' own 30 s.
    const graceMs = (pod.terminationGracePeriodSeconds ?? 30) * 1000;
    expect(delay).toBeGreaterThan(0);
    expect(delay + timeout + unloadMs).toBeLessThan(graceMs);
  });

  it('listen where their ports and probes say', () => {
    const { port, rest_api_port: restPort } = flags.values;
    const byName = new Map(container.ports.map((each) => [each.name, each.containerPort]));
    for (const [name, number] of byName) {
      expect(number).toBe(name === 'grpc' ? port : restPort);
    }
    for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe'] as const) {
      const { port: where } = container[probe].httpGet;
      expect(typeof where === 'number' ? where : byName.get(where)).toBe(restPort);
    }
  });

  it('mount volumes that there are', () => {
    const volumes = (pod.volumes ?? []).map(({ name }) => name);
    for (const { name } of container.volumeMounts ?? []) expect(volumes).toContain(name);
  });

  it('run the image of this version', () => {
    const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
      version: string;
    };
    expect(container.image).toBe(`tenon:${version}`);
  });
});

describe.each([...rendered])('%s', (_name, objects) => {
  const deployments = ofKind(objects, 'Deployment');
  const podLabels = deployments.map((deployment) =>
    at(deployment, 'spec.template.metadata.labels'),
  );

  it('selects pods that there are', () => {
    for (const [i, deployment] of deployments.entries()) {
      const labels = at(deployment, 'spec.selector.matchLabels') as object;
      expect(podLabels[i]).toMatchObject(labels);
      // Not another's.
      expect(podLabels.filter((each) => isSubset(labels, each))).toHaveLength(1);
    }
    for (const service of ofKind(objects, 'Service')) {
      const selector = at(service, 'spec.selector') as object;
      expect(podLabels.filter((each) => isSubset(selector, each))).toHaveLength(podLabels.length);
    }
    for (const budget of ofKind(objects, 'PodDisruptionBudget')) {
      const labels = at(budget, 'spec.selector.matchLabels') as object;
      expect(podLabels.filter((each) => isSubset(labels, each))).toHaveLength(1);
    }
  });

  it('sends to ports that the pods have', () => {
    const [deployment] = deployments;
    const [container] = at(deployment, 'spec.template.spec.containers') as [Container];
    const names = container.ports.map(({ name }) => name);
    for (const service of ofKind(objects, 'Service')) {
      for (const { targetPort } of at(service, 'spec.ports') as { targetPort: string }[]) {
        expect(names).toContain(targetPort);
      }
    }
  });

  it('scales each of the Deployments', () => {
    const scaled = ofKind(objects, 'HorizontalPodAutoscaler').map((autoscaler) =>
      at(autoscaler, 'spec.scaleTargetRef.name'),
    );
    expect(scaled.toSorted()).toEqual(deployments.map(({ metadata }) => metadata.name).toSorted());
    // Who scales sets the number, not who applies.
    for (const deployment of deployments) expect(at(deployment, 'spec.replicas')).toBeUndefined();
  });

  it('gives the pods configurations that the server reads', async () => {
    const maps = new Map(ofKind(objects, 'ConfigMap').map((map) => [map.metadata.name, map]));
    for (const deployment of deployments) {
      const volumes = at(deployment, 'spec.template.spec.volumes') as object[];
      const named = volumes.map((volume) => at(volume, 'configMap.name')).find(Boolean);
      expect(Object.keys(at(maps.get(named as string), 'data') as object).toSorted()).toEqual([
        'models.yaml',
        'monitoring.yaml',
      ]);
    }
    for (const folder of ['workload', 'overlays/canary/track']) {
      const config = await readModelServerConfig(path.join(deploy, folder, 'models.yaml'));
      expect(config.models.map(({ name }) => name)).toEqual(['half_plus_two']);
    }
  });

  it('divides the traffic between tracks that there are', () => {
    const subsets = ofKind(objects, 'DestinationRule').flatMap(
      (rule) => at(rule, 'spec.subsets') as { name: string; labels: object }[],
    );
    for (const { labels } of subsets) {
      expect(podLabels.filter((each) => isSubset(labels, each))).toHaveLength(1);
    }
    const names = subsets.map(({ name }) => name);
    for (const service of ofKind(objects, 'VirtualService')) {
      for (const { route, mirror } of at(service, 'spec.http') as HttpRoute[]) {
        expect(route.reduce((sum, { weight }) => sum + weight, 0)).toBe(100);
        const destinations = [...route.map(({ destination }) => destination), mirror ?? []].flat();
        for (const { host, subset } of destinations) {
          expect(names).toContain(subset);
          expect(ofKind(objects, 'Service').map(({ metadata }) => metadata.name)).toContain(host);
        }
      }
    }
  });
});

interface Destination {
  readonly host: string;
  readonly subset: string;
}

interface HttpRoute {
  readonly route: readonly { readonly destination: Destination; readonly weight: number }[];
  readonly mirror?: Destination;
}

function isSubset(labels: object, of: unknown): boolean {
  return Object.entries(labels).every(
    ([name, value]) => (of as Record<string, unknown>)[name] === value,
  );
}

describe('a server', () => {
  const monitoring = path.join(deploy, 'workload/monitoring.yaml');
  let server: Server;
  let metricsPath: string;
  let page: string;
  let port: number;

  beforeAll(async () => {
    metricsPath = (await readMonitoringConfig(monitoring)) as string;
    server = createServer({
      models: { half_plus_two: modelPath('half_plus_two') },
      rest: { port: 0, metricsPath, maxBodyBytes: 100 },
      grpc: false,
      load: { batching: { verifyBatching: 'warn' } },
    });
    await server.listen();
    port = server.restPort as number;
    while (!server.readiness().ready) await new Promise((resolve) => setTimeout(resolve, 20));
    // One of them too large, so that each metric has a series.
    for (const instances of [[1], Array.from({ length: 100 }, () => 1)]) {
      await ask({ port }, '/v1/models/half_plus_two:predict', { body: { instances } });
    }
    page = (await ask({ port }, metricsPath)).text;
  });

  afterAll(() => server.close());

  it('answers the probes, and scrapes, of every pod', async () => {
    for (const { pod } of pods) {
      const [{ startupProbe, readinessProbe, livenessProbe }] = pod.containers as [Container];
      for (const { httpGet } of [startupProbe, readinessProbe, livenessProbe]) {
        expect((await ask({ port }, httpGet.path)).status).toBe(200);
      }
    }
    const endpoints = [...rendered.values()]
      .flat()
      .flatMap((object) => (at(object, 'spec.endpoints') ?? []) as { path: string }[]);
    expect(endpoints.length).toBeGreaterThan(0);
    for (const endpoint of endpoints) expect(endpoint.path).toBe(metricsPath);
    for (const runtime of ofKind(kserve, 'ClusterServingRuntime')) {
      const annotations = at(runtime, 'spec.annotations') as Record<string, string>;
      expect(annotations['prometheus.kserve.io/path']).toBe(metricsPath);
    }
  });

  it('exports every metric that the rules and the autoscaler name', () => {
    const objects = rendered.get('overlays/monitored') as Manifest[];
    const [rule] = ofKind(objects, 'PrometheusRule');
    const groups = at(rule, 'spec.groups') as { rules: { record?: string; expr: string }[] }[];
    const rules = groups.flatMap((group) => group.rules);
    const used = new Set(
      rules.flatMap(({ expr }) => expr.match(/(?<![\w:])(tenon_|:tensorflow:)[\w:]+/g) ?? []),
    );
    expect(used.size).toBeGreaterThan(4);
    const exported = new Set(page.split('\n').map((line) => line.split(/[{ ]/, 1)[0]));
    expect([...used].filter((name) => !exported.has(name))).toEqual([]);
    // rule → adapter → autoscaler
    const values = readFileSync(
      path.join(deploy, 'components/prometheus/adapter-values.yaml'),
      'utf8',
    );
    const series = /seriesQuery: '([\w:]+)\{/.exec(values)?.[1];
    expect(rules.map(({ record }) => record)).toContain(series);
    const [autoscaler] = ofKind(objects, 'HorizontalPodAutoscaler');
    const metrics = at(autoscaler, 'spec.metrics') as object[];
    expect(metrics.map((metric) => at(metric, 'pods.metric.name'))).toContain(
      /as: (\w+)/.exec(values)?.[1],
    );
  });
});
