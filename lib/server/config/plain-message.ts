/**
 * Messages from plain objects, as YAML and JSON files hold them: fields by the names of the text
 * format (or in camelCase), wrappers and their bare values alike.
 */

import { describe, TenonError } from '../../errors.js';
import type { Field, MessageType, ScalarType } from '../../protobuf/message.js';

const whole = new Set<ScalarType>([
  'int32',
  'int64',
  'uint32',
  'uint64',
  'sint32',
  'sint64',
  'fixed32',
  'fixed64',
  'sfixed32',
  'sfixed64',
]);

/** @throws ERR_TENON_CONFIG naming the field by its path below `subject`. */
export function messageFromPlain<T extends object>(
  type: MessageType<T>,
  plain: unknown,
  subject: string,
): T {
  if (typeof plain !== 'object' || plain === null || Array.isArray(plain)) {
    // `max_batch_size: 128` for `max_batch_size { value: 128 }`.
    if (type.typeName.startsWith('google.protobuf.') && type.fields.length === 1) {
      const [field] = type.fields as [Field];
      return type.create({ [field.name]: valueOf(field, plain, subject) } as Partial<T>);
    }
    throw wrong('a map of fields', subject, plain);
  }
  const message = type.create() as Record<string, unknown>;
  const byName = new Map(
    type.fields.flatMap((field) => [
      [snakeCase(field.name), field],
      [field.name, field],
    ]),
  );
  for (const [name, value] of Object.entries(plain)) {
    const at = `${subject}.${name}`;
    const field = byName.get(name);
    if (field === undefined) {
      const known = type.fields.map((each) => snakeCase(each.name));
      throw new TenonError(
        'ERR_TENON_CONFIG',
        `expected ${known.join(', ')} in "${subject}", received "${name}"`,
      );
    }
    if (field.key !== undefined) {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        throw wrong('a map', at, value);
      }
      message[field.name] = new Map(
        Object.entries(value as object).map(([key, each]: [string, unknown]) => [
          key,
          valueOf(field, each, `${at}.${key}`),
        ]),
      );
    } else if (field.repeated !== undefined) {
      const list: unknown[] = Array.isArray(value) ? value : [value];
      message[field.name] = list.map((each, i) => valueOf(field, each, `${at}[${i}]`));
    } else if (field.oneof !== undefined) {
      if (message[field.oneof] !== undefined) {
        throw wrong(`no "${name}" beside another of its kind`, at, value);
      }
      message[field.oneof] = { case: field.name, value: valueOf(field, value, at) };
    } else {
      message[field.name] = valueOf(field, value, at);
    }
  }
  return message as T;
}

function valueOf(field: Field, value: unknown, subject: string): unknown {
  const { type } = field;
  if (typeof type !== 'string') return messageFromPlain(type, value ?? {}, subject);
  if (type === 'string') {
    if (typeof value !== 'string') throw wrong('a string', subject, value);
    return value;
  }
  if (type === 'bool') {
    if (typeof value !== 'boolean') throw wrong('true or false', subject, value);
    return value;
  }
  if (type === 'enum') {
    const number = typeof value === 'string' ? field.values?.[value] : Number(value);
    if (number === undefined || !Number.isInteger(number)) {
      throw wrong(`one of ${Object.keys(field.values ?? {}).join(', ')}`, subject, value);
    }
    return number;
  }
  if (whole.has(type)) {
    if (typeof value !== 'bigint' && !Number.isSafeInteger(value)) {
      throw wrong('a whole number', subject, value);
    }
    const number = BigInt(value as bigint | number);
    if (BigInt.asIntN(64, number) !== number) throw wrong('a 64-bit number', subject, value);
    if (type.endsWith('64')) return number;
    if (number < -(2n ** 31n) || number >= 2n ** 32n)
      throw wrong('a 32-bit number', subject, value);
    return Number(number);
  }
  if (type === 'bytes') throw wrong('no bytes', subject, value);
  if (typeof value !== 'number' && typeof value !== 'bigint') {
    throw wrong('a number', subject, value);
  }
  return Number(value);
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function wrong(expected: string, subject: string, received: unknown): TenonError {
  return new TenonError(
    'ERR_TENON_CONFIG',
    `expected ${expected} for "${subject}", received ${describe(received)}`,
  );
}
