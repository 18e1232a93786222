// What kustomize makes of the folders in deploy/: as much of it as they use, and an error for all else.
// `npm run check:deploy` compares it with the real one.
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';

import { parse, parseAllDocuments } from 'yaml';

const known = [
  'apiVersion',
  'kind',
  'resources',
  'components',
  'configMapGenerator',
  'images',
  'nameSuffix',
  'patches',
];

export function readManifests(file) {
  return parseAllDocuments(readFileSync(file, 'utf8')).map((document) => {
    if (document.errors.length > 0) throw new Error(`${file}: ${document.errors[0].message}`);
    return document.toJS();
  });
}

export function kustomize(folder) {
  return build(folder, []);
}

/** @param objects What a component adds to and patches. */
function build(folder, objects) {
  const file = path.join(folder, 'kustomization.yaml');
  const [kustomization] = readManifests(file);
  const { resources = [], components = [], configMapGenerator = [], images = [] } = kustomization;
  const { nameSuffix = '', patches = [] } = kustomization;
  const unknown = Object.keys(kustomization).filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new Error(`${file}: expected ${known}, received ${unknown}`);
  for (const resource of resources) {
    const where = path.join(folder, resource);
    objects.push(...(statSync(where).isDirectory() ? kustomize(where) : readManifests(where)));
  }
  for (const component of components) build(path.join(folder, component), objects);
  for (const generator of configMapGenerator) generate(objects, generator, folder);
  for (const { path: patch, target, ...other } of patches) {
    if (target === undefined || Object.keys(other).length > 0) {
      throw new Error(`${file}: expected path and target of a patch`);
    }
    const object = find(objects, target);
    for (const operation of parse(readFileSync(path.join(folder, patch), 'utf8'))) {
      apply(object, operation);
    }
  }
  if (nameSuffix !== '') addSuffix(objects, nameSuffix);
  for (const { name, newTag } of images) {
    for (const container of containersOf(objects)) {
      if (container.image === name) container.image = `${name}:${newTag}`;
    }
  }
  const ids = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
  const twice = ids.find((id, i) => ids.indexOf(id) !== i);
  if (twice !== undefined) throw new Error(`${file}: expected one ${twice}`);
  return objects;
}

function find(objects, { kind, name }) {
  const found = objects.filter((object) => object.kind === kind && object.metadata.name === name);
  if (found.length !== 1) throw new Error(`expected one ${kind} ${name}, found ${found.length}`);
  return found[0];
}

function generate(objects, { name, behavior = 'create', files, ...other }, folder) {
  if (Object.keys(other).length > 0) throw new Error(`expected only files of ConfigMap ${name}`);
  const data = Object.fromEntries(
    files.map((file) => [file, readFileSync(path.join(folder, file), 'utf8')]),
  );
  if (behavior === 'create') {
    objects.push({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data });
  } else {
    Object.assign(find(objects, { kind: 'ConfigMap', name }).data, data);
  }
}

/** One operation of a JSON patch (RFC 6902). */
function apply(object, { op, path: pointer, value }) {
  const keys = pointer.split('/').slice(1);
  const last = keys.pop();
  const parent = keys.reduce((each, key) => each?.[key], object);
  const isThere = parent !== undefined && (op === 'add' || last in parent);
  if (!isThere || !['add', 'replace'].includes(op)) throw new Error(`cannot ${op} ${pointer}`);
  if (Array.isArray(parent) && op === 'add') {
    parent.splice(last === '-' ? parent.length : Number(last), 0, value);
  } else {
    parent[last] = value;
  }
}

/** Names, where the pods name their configuration, and the autoscaler what it scales. */
function addSuffix(objects, suffix) {
  const configMaps = objects.filter(({ kind }) => kind === 'ConfigMap');
  const names = configMaps.map(({ metadata }) => metadata.name);
  for (const volume of podsOf(objects).flatMap(({ volumes = [] }) => volumes)) {
    const { configMap } = volume;
    if (names.includes(configMap?.name)) configMap.name += suffix;
  }
  const deployments = objects.filter(({ kind }) => kind === 'Deployment');
  for (const { kind, spec } of objects) {
    if (kind !== 'HorizontalPodAutoscaler') continue;
    find(deployments, spec.scaleTargetRef);
    spec.scaleTargetRef.name += suffix;
  }
  for (const { metadata } of objects) metadata.name += suffix;
}

function podsOf(objects) {
  return objects
    .filter(({ kind }) => kind === 'Deployment')
    .map((deployment) => deployment.spec.template.spec);
}

function containersOf(objects) {
  return podsOf(objects).flatMap(({ containers }) => containers);
}
