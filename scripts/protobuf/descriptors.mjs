// The descriptors that the gRPC server's reflection answers with, as lib/protobuf/descriptors.ts:
// FileDescriptorProtos of the files behind the server's services, made from descriptor-fields.csv,
// descriptor-enums.csv and services.csv. The columns are those of fields.csv and enums.csv, with the
// .proto's path in place of the module; the files import what their fields name.
import { create, toBinary } from '@bufbuild/protobuf';
import {
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
} from '@bufbuild/protobuf/wkt';

const scalars = new Map(
  Object.entries(Type)
    .filter(
      ([name, number]) =>
        typeof number === 'number' && !['MESSAGE', 'ENUM', 'GROUP'].includes(name),
    )
    .map(([name, number]) => [name.toLowerCase(), number]),
);

const packages = [
  'inference',
  'tensorflow.serving',
  'tensorflow.error',
  'tensorflow',
  'google.protobuf',
  'grpc.health.v1',
  'grpc.reflection.v1alpha',
  'grpc.reflection.v1',
];

function packageOf(fullName) {
  const found = packages.find((name) => fullName.startsWith(`${name}.`));
  if (found === undefined) throw new Error(`no package for ${fullName}`);
  return found;
}

/** protoc's own: underscores go, and what follows them is upper case. */
function jsonName(name) {
  return name.replaceAll(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
}

function capitalized(name) {
  const json = jsonName(name);
  return json[0].toUpperCase() + json.slice(1);
}

/** Files by path: the descriptor as an init for bufbuild's, and the names it defines. */
export function describeFiles(fieldRows, enumRows, serviceRows) {
  const fileOf = new Map();
  for (const { message, file } of fieldRows) fileOf.set(message, file);
  for (const row of enumRows) fileOf.set(row.enum, row.file);
  const enums = new Set(enumRows.map((row) => row.enum));
  const files = new Map();

  function fileAt(path, anyName) {
    if (!files.has(path)) {
      const descriptor = {
        name: path,
        package: packageOf(anyName),
        syntax: 'proto3',
        dependency: [],
        messageType: [],
        enumType: [],
        service: [],
      };
      files.set(path, { descriptor, messages: new Map(), symbols: [] });
    }
    return files.get(path);
  }

  function messageAt(file, fullName) {
    if (!file.messages.has(fullName)) {
      const message = {
        name: fullName.slice(fullName.lastIndexOf('.') + 1),
        field: [],
        nestedType: [],
        enumType: [],
        oneofDecl: [],
      };
      file.messages.set(fullName, message);
      file.symbols.push(fullName);
      const parent = fullName.slice(0, fullName.lastIndexOf('.'));
      if (parent === file.descriptor.package) file.descriptor.messageType.push(message);
      else messageAt(file, parent).nestedType.push(message);
    }
    return file.messages.get(fullName);
  }

  function typeOf(file, type) {
    if (scalars.has(type)) return { type: scalars.get(type) };
    const from = fileOf.get(type);
    if (from === undefined) throw new Error(`no message or enum ${type}`);
    const { dependency, name } = file.descriptor;
    if (from !== name && !dependency.includes(from)) dependency.push(from);
    return { type: enums.has(type) ? Type.ENUM : Type.MESSAGE, typeName: `.${type}` };
  }

  for (const row of fieldRows) {
    const file = fileAt(row.file, row.message);
    const message = messageAt(file, row.message);
    if (row.field === '') continue;
    const field = { name: row.field, number: Number(row.number), label: Label.OPTIONAL };
    if (row.json_name !== '' && row.json_name !== jsonName(row.field)) {
      field.jsonName = row.json_name;
    }
    if (row.deprecated !== '') field.options = { deprecated: true };
    const map = /^map<(\w+),\s*([\w.]+)>$/.exec(row.type);
    if (map !== null) {
      const entry = `${capitalized(row.field)}Entry`;
      message.nestedType.push({
        name: entry,
        field: [
          { name: 'key', number: 1, label: Label.OPTIONAL, ...typeOf(file, map[1]) },
          { name: 'value', number: 2, label: Label.OPTIONAL, ...typeOf(file, map[2]) },
        ],
        options: { mapEntry: true },
      });
      Object.assign(field, {
        label: Label.REPEATED,
        type: Type.MESSAGE,
        typeName: `.${row.message}.${entry}`,
      });
    } else {
      Object.assign(field, typeOf(file, row.type));
      if (row.label === 'repeated') field.label = Label.REPEATED;
    }
    if (row.oneof !== '') {
      let index = message.oneofDecl.findIndex(({ name }) => name === row.oneof);
      if (index < 0) index = message.oneofDecl.push({ name: row.oneof }) - 1;
      field.oneofIndex = index;
    }
    if (row.presence === 'proto3_optional') field.proto3Optional = true;
    message.field.push(field);
  }
  // An optional field has a oneof of its own, behind those that are written.
  for (const { messages } of files.values()) {
    for (const { field, oneofDecl } of messages.values()) {
      for (const optional of field.filter(({ proto3Optional }) => proto3Optional === true)) {
        optional.oneofIndex = oneofDecl.push({ name: `_${optional.name}` }) - 1;
      }
    }
  }
  for (const row of enumRows) {
    const file = fileAt(row.file, row.enum);
    const parent = row.enum.slice(0, row.enum.lastIndexOf('.'));
    const { enumType } =
      parent === file.descriptor.package ? file.descriptor : messageAt(file, parent);
    const name = row.enum.slice(row.enum.lastIndexOf('.') + 1);
    let found = enumType.find((other) => other.name === name);
    if (found === undefined) {
      found = { name, value: [] };
      enumType.push(found);
      file.symbols.push(row.enum);
    }
    found.value.push({ name: row.value, number: Number(row.number) });
  }
  for (const row of serviceRows) {
    const file = fileAt(row.file, row.service);
    const name = row.service.slice(row.service.lastIndexOf('.') + 1);
    let service = file.descriptor.service.find((other) => other.name === name);
    if (service === undefined) {
      service = { name, method: [] };
      file.descriptor.service.push(service);
      file.symbols.push(row.service);
    }
    service.method.push({
      name: row.method,
      inputType: typeOf(file, row.request).typeName,
      outputType: typeOf(file, row.response).typeName,
      clientStreaming: row.client_streaming !== '',
      serverStreaming: row.server_streaming !== '',
    });
  }
  return files;
}

/** The text of lib/protobuf/descriptors.ts, before it is formatted. */
export function emitDescriptors(fieldRows, enumRows, serviceRows) {
  const entries = [...describeFiles(fieldRows, enumRows, serviceRows)].map(
    ([path, { descriptor, symbols }]) => {
      const bytes = toBinary(
        FileDescriptorProtoSchema,
        create(FileDescriptorProtoSchema, descriptor),
      );
      return [
        '{',
        `name: '${path}',`,
        `dependencies: ${JSON.stringify(descriptor.dependency)},`,
        `symbols: ${JSON.stringify(symbols)},`,
        `base64: '${Buffer.from(bytes).toString('base64')}',`,
        '},',
      ].join('\n');
    },
  );
  return [
    '// Generated by scripts/protobuf/generate.mjs. Do not edit.',
    [
      '/** A .proto file that the server answers reflection with. */',
      'export interface DescribedFile {',
      'readonly name: string;',
      '/** The files it imports. */',
      'readonly dependencies: readonly string[];',
      '/** Full names of its messages, enums and services. */',
      'readonly symbols: readonly string[];',
      '/** Its google.protobuf.FileDescriptorProto. */',
      'readonly base64: string;',
      '}',
    ].join('\n'),
    `export const describedFiles: readonly DescribedFile[] = [\n${entries.join('\n')}\n];`,
  ].join('\n\n');
}
