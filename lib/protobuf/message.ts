/**
 * Messages as tables of fields, with one decoder and one encoder for all of them. The generated
 * files hold the TypeScript types and the tables; see scripts/protobuf/generate.mjs.
 *
 * In JavaScript: 64-bit integers are bigint, bytes a Uint8Array (a view of the input after
 * decoding), maps a Map, a oneof a `{ case, value }`, enums their number. A field that is absent
 * has proto3's default; message fields and those with explicit presence are undefined instead.
 * Unknown fields are passed over, and not kept.
 */

import { TenonError } from '../errors.js';
import { type DecodeOptions, WireReader, WireType, WireWriter, maxDepthDefault } from './wire.js';

export type ScalarType =
  | 'double'
  | 'float'
  | 'int32'
  | 'int64'
  | 'uint32'
  | 'uint64'
  | 'sint32'
  | 'sint64'
  | 'fixed32'
  | 'fixed64'
  | 'sfixed32'
  | 'sfixed64'
  | 'bool'
  | 'string'
  | 'bytes'
  /** An int32 on the wire. */
  | 'enum';

export interface Field {
  readonly name: string;
  readonly number: number;
  readonly type: ScalarType | MessageType<object>;
  /** Of an enum: its numbers by name. */
  readonly values?: Readonly<Record<string, number>>;
  /** The name in a .proto, where it is not `name` in snake case. */
  readonly textName?: string;
  /** Key type of a map; `type` is then that of its values. */
  readonly key?: ScalarType;
  /** How a repeated field is written; both forms are read. */
  readonly repeated?: 'packed' | 'expanded';
  readonly oneof?: string;
  /** Undefined rather than the default where absent, written also where it is the default. */
  readonly explicit?: true;
}

export interface MessageType<T extends object> {
  /** Full protobuf name, "tensorflow.SavedModel". */
  readonly typeName: string;
  readonly fields: readonly Field[];
  readonly byNumber: ReadonlyMap<number, Field>;
  create(init?: Partial<T>): T;
  /** Throws a TenonError with `options.code` on bytes that are no such message. */
  decode(bytes: Uint8Array, options?: DecodeOptions): T;
  encode(message: Partial<T>): Uint8Array;
}

interface OneofValue {
  case: string;
  value: unknown;
}

type Fields = Record<string, unknown>;

export interface MessageTypeOptions {
  /** proto2: strings are not checked for UTF-8. */
  proto2?: boolean;
}

/** A message type. The fields come from a function because messages may contain one another. */
export function messageType<T extends object>(
  typeName: string,
  makeFields: () => readonly Field[],
  options: MessageTypeOptions = {},
): MessageType<T> {
  return new TableMessageType<T>(typeName, makeFields, options.proto2 !== true);
}

class TableMessageType<T extends object> implements MessageType<T> {
  readonly typeName: string;
  readonly strictText: boolean;
  readonly #makeFields: () => readonly Field[];
  #fields: readonly Field[] | undefined;
  #byNumber: ReadonlyMap<number, Field> | undefined;

  constructor(typeName: string, makeFields: () => readonly Field[], strictText: boolean) {
    this.typeName = typeName;
    this.strictText = strictText;
    this.#makeFields = makeFields;
  }

  get fields(): readonly Field[] {
    return (this.#fields ??= this.#makeFields());
  }

  get byNumber(): ReadonlyMap<number, Field> {
    return (this.#byNumber ??= new Map(this.fields.map((field) => [field.number, field])));
  }

  create(init?: Partial<T>): T {
    const message: Fields = {};
    for (const field of this.fields) {
      if (field.oneof !== undefined) message[field.oneof] = undefined;
      else message[field.name] = absentValue(field);
    }
    // The table and the generated interface come from the same rows, so this is a T.
    return Object.assign(message, init) as T;
  }

  decode(bytes: Uint8Array, options?: DecodeOptions): T {
    const reader = new WireReader(bytes, options);
    const message = this.create();
    reader.typeName = this.typeName;
    this.readInto(reader, message as Fields);
    return message;
  }

  encode(message: Partial<T>): Uint8Array {
    const writer = new WireWriter();
    this.write(writer, message, 0);
    return writer.finish();
  }

  readInto(reader: WireReader, message: Fields): void {
    const { byNumber } = this;
    while (reader.position < reader.end) {
      const tag = reader.tag();
      const field = byNumber.get(tag >>> 3);
      if (field === undefined || !this.#readField(reader, message, field, tag & 7)) {
        reader.skip(tag);
      }
    }
  }

  /** False where the wire type is not the field's, which makes it an unknown field. */
  #readField(reader: WireReader, message: Fields, field: Field, wireType: number): boolean {
    const { type, name } = field;
    if (field.key !== undefined) {
      if (wireType !== WireType.bytes) return false;
      reader.countElement();
      const [key, value] = this.#readEntry(reader, field.key, type);
      (message[name] as Map<unknown, unknown>).set(key, value);
      return true;
    }
    if (typeof type !== 'string') {
      if (wireType !== WireType.bytes) return false;
      if (field.repeated !== undefined) {
        reader.countElement();
        (message[name] as unknown[]).push(readMessage(reader, type, undefined));
      } else if (field.oneof !== undefined) {
        const old = message[field.oneof] as OneofValue | undefined;
        const merged = readMessage(reader, type, old?.case === name ? old.value : undefined);
        message[field.oneof] = { case: name, value: merged } satisfies OneofValue;
      } else {
        // A message that comes twice is merged, says the encoding.
        message[name] = readMessage(reader, type, message[name]);
      }
      return true;
    }
    const expected = wireTypeOf(type);
    if (field.repeated !== undefined) {
      const list = message[name] as unknown[];
      if (wireType === WireType.bytes && expected !== WireType.bytes) {
        const outerEnd = reader.end;
        reader.end = reader.length() + reader.position;
        while (reader.position < reader.end) {
          reader.countElement();
          list.push(this.#readScalar(reader, type));
        }
        reader.end = outerEnd;
        return true;
      }
      if (wireType !== expected) return false;
      reader.countElement();
      list.push(this.#readScalar(reader, type));
      return true;
    }
    if (wireType !== expected) return false;
    const value = this.#readScalar(reader, type);
    if (field.oneof === undefined) message[name] = value;
    else message[field.oneof] = { case: name, value } satisfies OneofValue;
    return true;
  }

  #readEntry(
    reader: WireReader,
    keyType: ScalarType,
    valueType: ScalarType | MessageType<object>,
  ): [unknown, unknown] {
    let key: unknown = scalarDefault(keyType);
    let value: unknown = typeof valueType === 'string' ? scalarDefault(valueType) : undefined;
    const outerEnd = reader.end;
    reader.end = reader.length() + reader.position;
    while (reader.position < reader.end) {
      const tag = reader.tag();
      const wireType = tag & 7;
      if (tag >>> 3 === 1 && wireType === wireTypeOf(keyType)) {
        key = this.#readScalar(reader, keyType);
      } else if (tag >>> 3 === 2 && typeof valueType !== 'string' && wireType === WireType.bytes) {
        value = readMessage(reader, valueType, value);
      } else if (
        tag >>> 3 === 2 &&
        typeof valueType === 'string' &&
        wireType === wireTypeOf(valueType)
      ) {
        value = this.#readScalar(reader, valueType);
      } else {
        reader.skip(tag);
      }
    }
    reader.end = outerEnd;
    if (value === undefined && typeof valueType !== 'string') value = valueType.create();
    return [key, value];
  }

  #readScalar(reader: WireReader, type: ScalarType): unknown {
    switch (type) {
      case 'double':
        return reader.double();
      case 'float':
        return reader.float();
      case 'int32':
      case 'enum':
        return reader.int32();
      case 'int64':
        return reader.int64();
      case 'uint32':
        return reader.uint32();
      case 'uint64':
        return reader.uint64();
      case 'sint32':
        return reader.sint32();
      case 'sint64':
        return reader.sint64();
      case 'fixed32':
        return reader.fixed32();
      case 'fixed64':
        return reader.fixed64();
      case 'sfixed32':
        return reader.sfixed32();
      case 'sfixed64':
        return reader.sfixed64();
      case 'bool':
        return reader.bool();
      case 'string':
        return reader.text(this.strictText);
      case 'bytes':
        return reader.byteString();
    }
  }

  write(writer: WireWriter, message: Fields, depth: number): void {
    if (depth > maxDepthDefault) {
      throw new TenonError(
        'ERR_TENON_INVALID_ARGUMENT',
        `expected messages nested at most ${maxDepthDefault} deep for "${this.typeName}", received more`,
      );
    }
    for (const field of this.fields) {
      const { type } = field;
      let value: unknown;
      if (field.oneof === undefined) {
        value = message[field.name];
      } else {
        const chosen = message[field.oneof] as OneofValue | undefined;
        if (chosen?.case === field.name) value = chosen.value;
      }
      if (value === undefined || value === null) continue;
      if (field.key !== undefined) {
        for (const [key, entry] of value as Map<unknown, unknown>) {
          writer.tag(field.number, WireType.bytes);
          const start = writer.fork();
          writeScalarField(writer, 1, field.key, key);
          writeField(writer, 2, type, entry, depth);
          writer.join(start);
        }
      } else if (field.repeated === undefined) {
        const implicit = field.explicit !== true && field.oneof === undefined;
        if (implicit && typeof type === 'string' && isDefault(type, value)) continue;
        writeField(writer, field.number, type, value, depth);
      } else if (field.repeated === 'packed' && typeof type === 'string') {
        const list = value as readonly unknown[];
        if (list.length === 0) continue;
        writer.tag(field.number, WireType.bytes);
        const start = writer.fork();
        for (const element of list) writeScalar(writer, type, element);
        writer.join(start);
      } else {
        for (const element of value as readonly unknown[]) {
          writeField(writer, field.number, type, element, depth);
        }
      }
    }
  }
}

function tableOf(type: MessageType<object>): TableMessageType<object> {
  // messageType() is the only maker of MessageTypes.
  return type as TableMessageType<object>;
}

function readMessage(reader: WireReader, type: MessageType<object>, into: unknown): object {
  const length = reader.length();
  if (++reader.depth > reader.maxDepth) throw reader.fail('messages nested too deep');
  const message = (into ?? type.create()) as Fields;
  const outerEnd = reader.end;
  const outerName = reader.typeName;
  reader.end = reader.position + length;
  reader.typeName = type.typeName;
  tableOf(type).readInto(reader, message);
  reader.end = outerEnd;
  reader.typeName = outerName;
  reader.depth--;
  return message;
}

function writeField(
  writer: WireWriter,
  number: number,
  type: ScalarType | MessageType<object>,
  value: unknown,
  depth: number,
): void {
  if (typeof type === 'string') {
    writeScalarField(writer, number, type, value);
    return;
  }
  writer.tag(number, WireType.bytes);
  const start = writer.fork();
  tableOf(type).write(writer, value as Fields, depth + 1);
  writer.join(start);
}

function writeScalarField(
  writer: WireWriter,
  number: number,
  type: ScalarType,
  value: unknown,
): void {
  writer.tag(number, wireTypeOf(type));
  writeScalar(writer, type, value);
}

/** The generated interfaces give each field the JavaScript type of its row. */
function writeScalar(writer: WireWriter, type: ScalarType, value: unknown): void {
  switch (type) {
    case 'double':
    case 'float':
    case 'uint32':
    case 'sint32':
    case 'fixed32':
    case 'sfixed32':
    case 'int32':
      writer[type](value as number);
      return;
    case 'enum':
      writer.int32(value as number);
      return;
    case 'int64':
    case 'uint64':
    case 'sint64':
    case 'fixed64':
    case 'sfixed64':
      writer[type](value as bigint);
      return;
    case 'bool':
      writer.bool(value as boolean);
      return;
    case 'string':
      writer.text(value as string);
      return;
    case 'bytes':
      writer.byteString(value as Uint8Array);
  }
}

export function wireTypeOf(type: ScalarType): number {
  switch (type) {
    case 'double':
    case 'fixed64':
    case 'sfixed64':
      return WireType.fixed64;
    case 'float':
    case 'fixed32':
    case 'sfixed32':
      return WireType.fixed32;
    case 'string':
    case 'bytes':
      return WireType.bytes;
    default:
      return WireType.varint;
  }
}

export function scalarDefault(type: ScalarType): unknown {
  switch (type) {
    case 'string':
      return '';
    case 'bytes':
      return new Uint8Array(0);
    case 'bool':
      return false;
    case 'int64':
    case 'uint64':
    case 'sint64':
    case 'fixed64':
    case 'sfixed64':
      return 0n;
    default:
      return 0;
  }
}

function absentValue(field: Field): unknown {
  if (field.key !== undefined) return new Map();
  if (field.repeated !== undefined) return [];
  if (field.explicit === true || typeof field.type !== 'string') return undefined;
  return scalarDefault(field.type);
}

function isDefault(type: ScalarType, value: unknown): boolean {
  if (type === 'bytes') return (value as Uint8Array).byteLength === 0;
  // Negative zero is a value of its own.
  return Object.is(value, scalarDefault(type));
}
