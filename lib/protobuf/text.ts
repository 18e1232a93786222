/**
 * The text format of protobuf messages (protobuf.dev/reference/protobuf/textformat-spec), in which
 * TensorFlow Serving's configuration files are written.
 *
 * As protobuf's own parser has it: a field that is not repeated may come once, of a oneof one field,
 * and an unknown field is an error. Not read: extensions, groups, and names of unknown Any types.
 */

import { describe, TenonError, type TenonErrorCode } from '../errors.js';
import { type Field, type MessageType, scalarDefault, type ScalarType } from './message.js';
import { maxDepthDefault } from './wire.js';

export interface ParseTextOptions {
  /** The code of errors about the text. Default ERR_TENON_INVALID_ARGUMENT. */
  code?: TenonErrorCode;
  /** What the text is called in such errors, a path for instance. Default "text". */
  subject?: string;
  /** The messages that an Any may hold in its expanded form, `[type.googleapis.com/name] { … }`. */
  anyTypes?: readonly MessageType<object>[];
  /** Messages nest no deeper. Default 100. */
  maxDepth?: number;
  /** Characters of the text. Default 16 Mi. */
  maxLength?: number;
}

const maxLengthDefault = 16 * 1024 * 1024;

/** A value of three characters costs hundreds of bytes in memory. */
const maxValues = 1_000_000;

/**
 * Reads a `type` written as text.
 *
 * @throws TenonError with `options.code`: `expected … for "<subject>:<line>:<column>", received …`,
 *   lines and columns counted from 1.
 */
export function parseText<T extends object>(
  type: MessageType<T>,
  text: string,
  options: ParseTextOptions = {},
): T {
  const parser = new Parser(text, options);
  return parser.message(type, undefined) as T;
}

type Fields = Record<string, unknown>;

const anyTypeName = 'google.protobuf.Any';

/** One pass over the text. `#position` stands at the next token, spaces and comments behind it. */
class Parser {
  readonly #text: string;
  readonly #code: TenonErrorCode;
  readonly #subject: string;
  readonly #anyTypes: ReadonlyMap<string, MessageType<object>>;
  readonly #maxDepth: number;
  #position = 0;
  #depth = 0;
  #values = 0;

  constructor(text: string, options: ParseTextOptions) {
    this.#text = text;
    this.#code = options.code ?? 'ERR_TENON_INVALID_ARGUMENT';
    this.#subject = options.subject ?? 'text';
    this.#anyTypes = new Map(options.anyTypes?.map((type) => [type.typeName, type]));
    this.#maxDepth = options.maxDepth ?? maxDepthDefault;
    const maxLength = options.maxLength ?? maxLengthDefault;
    if (text.length > maxLength) {
      throw new TenonError(
        this.#code,
        `expected at most ${maxLength} characters for "${this.#subject}", received ${text.length}`,
      );
    }
    if (text.startsWith('\ufeff')) this.#position = 1;
    this.#skipSpace();
  }

  /** The fields up to `end`, or to the end of the text. */
  message(type: MessageType<object>, end: string | undefined): object {
    const message = type.create() as Fields;
    const fields = fieldsByText(type);
    const seen = new Set<string>();
    for (;;) {
      if (this.#position >= this.#text.length) {
        if (end === undefined) return message;
        throw this.#fail(`"${end}" at the end of ${type.typeName}`);
      }
      if (end !== undefined && this.#take(end)) return message;
      const start = this.#position;
      if (type.typeName === anyTypeName && this.#peek() === '[') {
        if (seen.size > 0) throw this.#fail('nothing beside the expanded form of an Any', start);
        seen.add('typeUrl').add('value');
        this.#expandedAny(message);
      } else {
        const name = this.#identifier(`a field of ${type.typeName}`);
        const field = fields.get(name);
        if (field === undefined) throw this.#fail(`a field of ${type.typeName}`, start);
        const once = field.oneof ?? field.name;
        if (field.repeated === undefined && field.key === undefined) {
          if (seen.has(once)) {
            const what = field.oneof === undefined ? `"${name}"` : `one field of "${field.oneof}"`;
            throw this.#fail(`${what} once in ${type.typeName}`, start);
          }
          seen.add(once);
        }
        this.#field(message, field, name);
      }
      if (!this.#take(',')) this.#take(';');
    }
  }

  #field(message: Fields, field: Field, name: string): void {
    const colon = this.#take(':');
    const isMessage = field.key !== undefined || typeof field.type !== 'string';
    if (!colon && !isMessage) throw this.#fail(`":" after "${name}"`);
    if (field.repeated === undefined && field.key === undefined) {
      const value = this.#value(field);
      message[field.oneof ?? field.name] =
        field.oneof === undefined ? value : { case: field.name, value };
      return;
    }
    const add = (): void => {
      if (field.key === undefined) {
        (message[field.name] as unknown[]).push(this.#value(field));
      } else {
        const [key, value] = this.#entry(field, field.key);
        (message[field.name] as Map<unknown, unknown>).set(key, value);
      }
    };
    if (!this.#take('[')) {
      add();
      return;
    }
    if (this.#take(']')) return;
    do add();
    while (this.#take(','));
    this.#expect(']', `"," or "]" in the list "${name}"`);
  }

  /** A map's entry: a message of `key` and `value`, either of which may be left out. */
  #entry(field: Field, keyType: ScalarType): [unknown, unknown] {
    const keyField: Field = { name: 'key', number: 1, type: keyType };
    const valueField: Field = {
      name: 'value',
      number: 2,
      type: field.type,
      ...(field.values === undefined ? {} : { values: field.values }),
    };
    const end = this.#open(field.name);
    let key: unknown;
    let value: unknown;
    while (!this.#take(end)) {
      const start = this.#position;
      const name = this.#identifier('"key" or "value"');
      const chosen = name === 'key' ? keyField : valueField;
      if (name !== chosen.name) throw this.#fail('"key" or "value"', start);
      if ((name === 'key' ? key : value) !== undefined) throw this.#fail(`"${name}" once`, start);
      if (!this.#take(':') && typeof chosen.type === 'string') {
        throw this.#fail(`":" after "${name}"`);
      }
      if (name === 'key') key = this.#value(chosen);
      else value = this.#value(chosen);
      if (!this.#take(',')) this.#take(';');
    }
    this.#depth--;
    return [
      key ?? scalarDefault(keyType),
      value ?? (typeof field.type === 'string' ? scalarDefault(field.type) : field.type.create()),
    ];
  }

  #value(field: Field): unknown {
    const { type } = field;
    if (++this.#values > maxValues) throw this.#fail(`at most ${maxValues} values`);
    if (typeof type !== 'string') {
      const end = this.#open(type.typeName);
      const message = this.message(type, end);
      this.#depth--;
      return message;
    }
    switch (type) {
      case 'string':
        return this.#textValue();
      case 'bytes':
        return this.#bytesValue();
      case 'bool':
        return this.#boolValue();
      case 'enum':
        return this.#enumValue(field.values);
      case 'float':
        return Math.fround(this.#floatValue());
      case 'double':
        return this.#floatValue();
      case 'int32':
      case 'sint32':
      case 'sfixed32':
        return Number(this.#integer(type, -(2n ** 31n), 2n ** 31n - 1n));
      case 'uint32':
      case 'fixed32':
        return Number(this.#integer(type, 0n, 2n ** 32n - 1n));
      case 'int64':
      case 'sint64':
      case 'sfixed64':
        return this.#integer(type, -(2n ** 63n), 2n ** 63n - 1n);
      case 'uint64':
      case 'fixed64':
        return this.#integer(type, 0n, 2n ** 64n - 1n);
    }
  }

  /** Enters a message and gives what ends it. */
  #open(what: string): string {
    if (++this.#depth > this.#maxDepth) {
      throw this.#fail(`messages nested at most ${this.#maxDepth} deep`);
    }
    if (this.#take('{')) return '}';
    if (this.#take('<')) return '>';
    throw this.#fail(`"{" for ${what}`);
  }

  #expandedAny(any: Fields): void {
    this.#expect('[', '"["');
    const start = this.#position;
    const url = this.#match(/[\w.~!$&()*+,;=%/-]+/y);
    const type = this.#anyTypes.get(url.slice(url.lastIndexOf('/') + 1));
    if (!url.includes('/') || type === undefined) {
      const known = [...this.#anyTypes.keys()].map((name) => `type.googleapis.com/${name}`);
      throw this.#fail(
        known.length === 0 ? 'an Any of a known type' : `one of ${known.join(', ')}`,
        start,
      );
    }
    this.#expect(']', '"]" after the type of an Any');
    this.#take(':');
    const value = this.message(type, this.#open(type.typeName));
    this.#depth--;
    any['typeUrl'] = url;
    any['value'] = type.encode(value);
  }

  #textValue(): string {
    const start = this.#position;
    const bytes = this.#bytesValue();
    try {
      return strictUtf8.decode(bytes);
    } catch {
      throw this.#fail('a string of UTF-8', start);
    }
  }

  /** String literals; those that follow each other are one. */
  #bytesValue(): Uint8Array {
    const parts: Uint8Array[] = [];
    do this.#stringLiteral(parts);
    while (this.#peek() === '"' || this.#peek() === "'");
    if (parts.length === 1) return parts[0] as Uint8Array;
    const joined = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
    let offset = 0;
    for (const part of parts) {
      joined.set(part, offset);
      offset += part.byteLength;
    }
    return joined;
  }

  #stringLiteral(parts: Uint8Array[]): void {
    const text = this.#text;
    const quote = this.#peek();
    if (quote !== '"' && quote !== "'") throw this.#fail('a string in quotes');
    const opened = this.#position++;
    const plain = quote === '"' ? /[^"\\\n]+/y : /[^'\\\n]+/y;
    for (;;) {
      plain.lastIndex = this.#position;
      const run = plain.exec(text)?.[0];
      if (run !== undefined) {
        parts.push(utf8Encoder.encode(run));
        this.#position += run.length;
      }
      const next = text[this.#position];
      if (next === quote) {
        this.#position++;
        this.#skipSpace();
        return;
      }
      if (next !== '\\') throw this.#fail(`a closing ${quote} on the same line`, opened);
      parts.push(this.#escape());
    }
  }

  #escape(): Uint8Array {
    const start = this.#position;
    const found =
      matchAt(/\\([0-7]{1,3})/y, this.#text, start) ??
      matchAt(/\\[xX]([0-9a-fA-F]{1,2})/y, this.#text, start) ??
      matchAt(/\\u([0-9a-fA-F]{4})/y, this.#text, start) ??
      matchAt(/\\U([0-9a-fA-F]{8})/y, this.#text, start) ??
      matchAt(/\\([abfnrtv?'"\\])/y, this.#text, start);
    if (found === undefined) throw this.#fail('a known escape', start);
    const [whole, digits] = found;
    this.#position += whole.length;
    const kind = whole[1] as string;
    if (kind === 'u' || kind === 'U') {
      let point = parseInt(digits, 16);
      // A character beyond the first 65536 may be written as its two surrogates.
      if (kind === 'u' && point >= 0xd800 && point < 0xdc00) {
        const low = matchAt(/\\u([dD][c-fC-F][0-9a-fA-F]{2})/y, this.#text, this.#position);
        if (low !== undefined) {
          this.#position += low[0].length;
          point = 0x10000 + ((point - 0xd800) << 10) + (parseInt(low[1], 16) - 0xdc00);
        }
      }
      if (point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) {
        throw this.#fail('a character of Unicode', start);
      }
      return utf8Encoder.encode(String.fromCodePoint(point));
    }
    if (kind === 'x' || kind === 'X') return Uint8Array.of(parseInt(digits, 16));
    if (kind >= '0' && kind <= '7') {
      const byte = parseInt(digits, 8);
      if (byte > 0xff) throw this.#fail('an escape of at most \\377', start);
      return Uint8Array.of(byte);
    }
    return Uint8Array.of((escapes[kind] ?? kind).charCodeAt(0));
  }

  #boolValue(): boolean {
    const start = this.#position;
    const word = this.#word();
    if (word === 'true' || word === 'True' || word === 't') return true;
    if (word === 'false' || word === 'False' || word === 'f') return false;
    if (/^(0x)?0*[01]$/i.test(word)) return word.endsWith('1');
    throw this.#fail('true or false', start);
  }

  #enumValue(values: Readonly<Record<string, number>> | undefined): number {
    const start = this.#position;
    if (/[-0-9]/.test(this.#peek())) {
      return Number(this.#integer('enum', -(2n ** 31n), 2n ** 31n - 1n));
    }
    const word = this.#word();
    if (values !== undefined && Object.hasOwn(values, word)) return values[word] as number;
    throw this.#fail(`one of ${Object.keys(values ?? {}).join(', ')}`, start);
  }

  #integer(type: string, lowest: bigint, highest: bigint): bigint {
    const start = this.#position;
    const negative = this.#take('-');
    const word = this.#word();
    // Digits beyond those of 64 bits are out of range, and costly to convert.
    if (word.length > 66) throw this.#fail(`an integer that fits ${type}`, start);
    let value: bigint;
    if (/^0[0-7]+$/.test(word)) value = BigInt(`0o${word.slice(1)}`);
    else if (/^(0[xX][0-9a-fA-F]+|0|[1-9][0-9]*)$/.test(word)) value = BigInt(word);
    else throw this.#fail('an integer', start);
    if (negative) value = -value;
    if (value < lowest || value > highest) throw this.#fail(`an integer that fits ${type}`, start);
    return value;
  }

  #floatValue(): number {
    const start = this.#position;
    const sign = this.#take('-') ? -1 : 1;
    const number = matchAt(/(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?/y, this.#text, this.#position);
    if (number === undefined) {
      const word = this.#word().toLowerCase();
      if (word === 'inf' || word === 'infinity') return sign * Infinity;
      if (word === 'nan') return NaN;
      throw this.#fail('a number', start);
    }
    this.#position += number[0].length;
    if (/[fF]/.test(this.#text[this.#position] ?? '')) this.#position++;
    // "0x10", "012" and "1abc" are no decimal numbers.
    if (/[\w.]/.test(this.#text[this.#position] ?? '') || /^0\d+$/.test(number[0])) {
      throw this.#fail('a decimal number', start);
    }
    this.#skipSpace();
    return sign * Number(number[0]);
  }

  #identifier(expected: string): string {
    const start = this.#position;
    const name = this.#match(/[A-Za-z_]\w*/y);
    if (name === '') throw this.#fail(expected, start);
    return name;
  }

  /** A name or number, to its end; empty where there is none. */
  #word(): string {
    return this.#match(/[\w.]+/y);
  }

  /** What `pattern` (sticky) matches here, taken with the space behind it. */
  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#position;
    const found = pattern.exec(this.#text)?.[0] ?? '';
    this.#position += found.length;
    this.#skipSpace();
    return found;
  }

  #peek(): string {
    return this.#text[this.#position] ?? '';
  }

  #take(token: string): boolean {
    if (this.#text[this.#position] !== token) return false;
    this.#position++;
    this.#skipSpace();
    return true;
  }

  #expect(token: string, expected: string): void {
    if (!this.#take(token)) throw this.#fail(expected);
  }

  #skipSpace(): void {
    const text = this.#text;
    let position = this.#position;
    for (;;) {
      const code = text.charCodeAt(position);
      if (code === 0x20 || (code >= 0x09 && code <= 0x0d)) position++;
      else if (code === 0x23) {
        const end = text.indexOf('\n', position);
        position = end < 0 ? text.length : end + 1;
      } else break;
    }
    this.#position = position;
  }

  #fail(expected: string, at = this.#position): TenonError {
    const before = this.#text.slice(0, at);
    const line = before.split('\n').length;
    const column = at - before.lastIndexOf('\n');
    const rest = matchAt(/[\w.+-]+|./y, this.#text, at)?.[0];
    return new TenonError(
      this.#code,
      `expected ${expected} for "${this.#subject}:${line}:${column}", received ` +
        (rest === undefined ? 'the end of the text' : describe(rest)),
    );
  }
}

const utf8Encoder = new TextEncoder();
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const escapes: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

function matchAt(pattern: RegExp, text: string, at: number): [string, string] | undefined {
  pattern.lastIndex = at;
  const found = pattern.exec(text);
  return found === null ? undefined : [found[0], found[1] ?? ''];
}

const textNames = new WeakMap<MessageType<object>, ReadonlyMap<string, Field>>();

function fieldsByText(type: MessageType<object>): ReadonlyMap<string, Field> {
  let fields = textNames.get(type);
  if (fields === undefined) {
    fields = new Map(type.fields.map((field) => [textNameOf(field), field]));
    textNames.set(type, fields);
  }
  return fields;
}

/** A field's name in a .proto and in text. */
export function textNameOf({ textName, name }: Field): string {
  return textName ?? name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
