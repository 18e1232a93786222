// Writes lib/protobuf/<module>.ts from fields.csv and enums.csv.
//
//     node scripts/protobuf/generate.mjs            writes the files
//     node scripts/protobuf/generate.mjs --check    fails if one of them is not current
//
// fields.csv, one row per field:
//   module    the generated file
//   message   its full name; nested messages have dotted names
//   field     as in the .proto, or empty for a message without fields
//   number
//   type      a scalar type, the full name of a message or enum, or map<key,value>
//   label     optional (or singular), repeated, map, or oneof:<name>
//   oneof     name of the oneof the field belongs to
//   presence  "explicit" (or proto3_optional) where absent differs from the default
//   packing   "packed" or "expanded": how a repeated field is written. Empty is the language's own
//             rule: numbers and enums of proto3 are packed, everything else is not
// Fields that are not listed are skipped by the decoder without being decoded.
//
// lib/protobuf/descriptors.ts is made by descriptors.mjs.
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { format, resolveConfig } from 'prettier';

import { emitDescriptors } from './descriptors.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const outputFolder = path.join(here, '..', '..', 'lib', 'protobuf');

/** Modules whose messages are proto2: strings are not checked for UTF-8. */
const proto2Modules = new Set(['onnx']);

const scalars = new Map([
  ['double', 'number'],
  ['float', 'number'],
  ['int32', 'number'],
  ['int64', 'bigint'],
  ['uint32', 'number'],
  ['uint64', 'bigint'],
  ['sint32', 'number'],
  ['sint64', 'bigint'],
  ['fixed32', 'number'],
  ['fixed64', 'bigint'],
  ['sfixed32', 'number'],
  ['sfixed64', 'bigint'],
  ['bool', 'boolean'],
  ['string', 'string'],
  ['bytes', 'Uint8Array'],
]);

const reservedModules = new Set([
  'wire',
  'descriptors',
  'message',
  'model-file',
  'project',
  'tensorflow-dtypes',
  'text',
]);

function parseCsv(text) {
  const [header, ...rows] = text
    .trim()
    .split('\n')
    .map((line) =>
      [...line.matchAll(/(?:^|,)(?:"([^"]*)"|([^,]*))/g)].map(([, quoted, bare]) => quoted ?? bare),
    );
  return rows.map((row, index) => {
    if (row.length !== header.length) {
      throw new Error(`row ${index + 2}: ${row.length} columns, not ${header.length}`);
    }
    return Object.fromEntries(header.map((name, column) => [name, row[column]]));
  });
}

/** "tensorflow.MetaGraphDef.MetaInfoDef" → "MetaGraphDefMetaInfoDef": packages are lower case. */
function localName(fullName) {
  return fullName
    .split('.')
    .filter((part) => /^[A-Z]/.test(part))
    .join('');
}

function camelCase(name) {
  return name.replaceAll(/_+([a-zA-Z0-9])/g, (_, letter) => letter.toUpperCase());
}

function snakeCase(name) {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function quote(text) {
  return `'${text}'`;
}

function load(fieldRows, enumRows) {
  const messages = new Map();
  const enums = new Map();
  for (const row of enumRows) {
    if (!enums.has(row.enum)) enums.set(row.enum, { module: row.module, values: [] });
    enums.get(row.enum).values.push([row.value, Number(row.number)]);
  }
  for (const row of fieldRows) {
    if (reservedModules.has(row.module)) throw new Error(`module name ${row.module} is taken`);
    if (!messages.has(row.message)) {
      messages.set(row.message, { module: row.module, name: row.message, fields: [] });
    }
    const message = messages.get(row.message);
    if (message.module !== row.module) throw new Error(`${row.message} is in two modules`);
    if (row.field === '') continue;
    const number = Number(row.number);
    const valid = Number.isInteger(number) && number > 0 && number < 2 ** 29;
    if (!valid || message.fields.some((field) => field.number === number)) {
      throw new Error(`${row.message}.${row.field}: number ${row.number} is wrong or taken`);
    }
    const map = /^map<(\w+),\s*([\w.]+)>$/.exec(row.type);
    const inOneof = /^oneof:(\w+)$/.exec(row.label);
    message.fields.push({
      name: camelCase(row.field),
      textName: snakeCase(camelCase(row.field)) === row.field ? undefined : row.field,
      number,
      type: map === null ? row.type : map[2],
      key: map?.[1],
      repeated: row.label === 'repeated' ? row.packing || defaultPacking(row, enums) : undefined,
      oneof: row.oneof === '' ? inOneof && camelCase(inOneof[1]) : camelCase(row.oneof),
      explicit: row.presence === 'explicit' || row.presence === 'proto3_optional',
    });
  }
  return { messages, enums };
}

function defaultPacking({ module, type }, enums) {
  const isNumeric = enums.has(type) || (scalars.has(type) && type !== 'string' && type !== 'bytes');
  return isNumeric && !proto2Modules.has(module) ? 'packed' : 'expanded';
}

function emit(module, { messages, enums }) {
  const imports = new Map();

  function reference(fullName, definition) {
    const name = localName(fullName);
    if (definition.module !== module) {
      if (!imports.has(definition.module)) imports.set(definition.module, new Set());
      imports.get(definition.module).add(name);
    }
    return name;
  }

  function typeScriptType(type) {
    if (scalars.has(type)) return scalars.get(type);
    if (enums.has(type)) return reference(type, enums.get(type));
    const message = messages.get(type);
    if (message === undefined) throw new Error(`no message or enum ${type}`);
    return reference(type, message);
  }

  function tableType(type) {
    if (scalars.has(type)) return quote(type);
    return enums.has(type) ? quote('enum') : typeScriptType(type);
  }

  function members(message) {
    const lines = [];
    const oneofs = new Set();
    for (const field of message.fields) {
      const type = typeScriptType(field.type);
      if (field.key) lines.push(`${field.name}: Map<${scalars.get(field.key)}, ${type}>;`);
      else if (field.repeated) lines.push(`${field.name}: ${type}[];`);
      else if (field.oneof) {
        if (oneofs.has(field.oneof)) continue;
        oneofs.add(field.oneof);
        const cases = message.fields
          .filter((other) => other.oneof === field.oneof)
          .map((other) => `{ case: '${other.name}'; value: ${typeScriptType(other.type)} }`);
        lines.push(`${field.oneof}: ${cases.join(' | ')} | undefined;`);
      } else if (field.explicit || messages.has(field.type)) {
        lines.push(`${field.name}: ${type} | undefined;`);
      } else lines.push(`${field.name}: ${type};`);
    }
    return lines.join('\n');
  }

  function table(message) {
    return message.fields
      .map((field) => {
        const parts = [
          `name: ${quote(field.name)}`,
          `number: ${field.number}`,
          `type: ${tableType(field.type)}`,
        ];
        if (enums.has(field.type)) parts.push(`values: ${typeScriptType(field.type)}`);
        if (field.textName) parts.push(`textName: ${quote(field.textName)}`);
        if (field.key) parts.push(`key: ${quote(field.key)}`);
        if (field.repeated) parts.push(`repeated: ${quote(field.repeated)}`);
        if (field.oneof) parts.push(`oneof: ${quote(field.oneof)}`);
        if (field.explicit) parts.push('explicit: true');
        return `{ ${parts.join(', ')} },`;
      })
      .join('\n');
  }

  const blocks = [];
  for (const [fullName, definition] of enums) {
    if (definition.module !== module) continue;
    const name = localName(fullName);
    const values = definition.values.map(([value, number]) => `${value}: ${number},`).join('\n');
    blocks.push(`/** ${fullName} */\nexport const ${name} = {\n${values}\n} as const;`);
    blocks.push(
      `/** Any number: enums are open, later versions add to them. */\nexport type ${name} = number;`,
    );
  }
  for (const [fullName, message] of messages) {
    if (message.module !== module) continue;
    const name = localName(fullName);
    const body = members(message);
    blocks.push(
      body === ''
        ? `/** ${fullName} */\nexport type ${name} = Record<never, never>;`
        : `/** ${fullName} */\nexport interface ${name} {\n${body}\n}`,
    );
    const options = proto2Modules.has(module) ? ', { proto2: true }' : '';
    blocks.push(
      `export const ${name}: MessageType<${name}> = messageType('${fullName}', () => [\n` +
        `${table(message)}\n]${options});`,
    );
  }
  const importLines = [...imports].map(
    ([from, names]) => `import { ${[...names].sort().join(', ')} } from './${from}.js';`,
  );
  return [
    '// Generated by scripts/protobuf/generate.mjs. Do not edit.',
    ["import { type MessageType, messageType } from './message.js';", ...importLines].join('\n'),
    ...blocks,
  ].join('\n\n');
}

/** The generated files, by path. */
export async function generate() {
  const [fieldRows, enumRows, ...descriptorRows] = await Promise.all(
    [
      'fields.csv',
      'enums.csv',
      'descriptor-fields.csv',
      'descriptor-enums.csv',
      'services.csv',
    ].map(async (name) => parseCsv(await readFile(path.join(here, name), 'utf8'))),
  );
  const definitions = load(fieldRows, enumRows);
  const modules = new Set([...fieldRows, ...enumRows].map((row) => row.module));
  const texts = new Map([...modules].map((module) => [module, emit(module, definitions)]));
  texts.set('descriptors', emitDescriptors(...descriptorRows));
  const files = new Map();
  for (const [module, text] of texts) {
    const file = path.join(outputFolder, `${module}.ts`);
    const config = await resolveConfig(file);
    files.set(file, await format(text, { ...config, parser: 'typescript' }));
  }
  return files;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const check = process.argv.includes('--check');
  let stale = 0;
  for (const [file, text] of await generate()) {
    if ((await readFile(file, 'utf8').catch(() => undefined)) === text) continue;
    const shown = path.relative(process.cwd(), file);
    if (check) {
      console.error(`${shown} is not current: run node scripts/protobuf/generate.mjs`);
      stale++;
    } else {
      await writeFile(file, text);
      console.log(`wrote ${shown}`);
    }
  }
  process.exitCode = stale > 0 ? 1 : 0;
}
