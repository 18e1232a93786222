import { execFileSync } from 'node:child_process';

import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import { describe, expect, it } from 'vitest';

import { TenonError } from '../../lib/errors.js';
import { type MessageType, type ScalarType, messageType } from '../../lib/protobuf/message.js';
import { WireReader, WireWriter } from '../../lib/protobuf/wire.js';

interface Leaf {
  label: string;
}
const Leaf: MessageType<Leaf> = messageType('test.Leaf', () => [
  { name: 'label', number: 1, type: 'string' },
]);

interface Tree {
  double: number;
  float: number;
  int32: number;
  int64: bigint;
  uint32: number;
  uint64: bigint;
  sint32: number;
  sint64: bigint;
  fixed32: number;
  fixed64: bigint;
  sfixed32: number;
  sfixed64: bigint;
  bool: boolean;
  text: string;
  bytes: Uint8Array;
  kind: number;
  packed: number[];
  expanded: bigint[];
  leaves: Leaf[];
  child: Tree | undefined;
  byName: Map<string, Leaf>;
  byNumber: Map<bigint, number>;
  choice:
    | { case: 'word'; value: string }
    | { case: 'count'; value: number }
    | { case: 'leaf'; value: Leaf }
    | undefined;
  maybe: number | undefined;
}
const Tree: MessageType<Tree> = messageType('test.Tree', () => [
  { name: 'double', number: 1, type: 'double' },
  { name: 'float', number: 2, type: 'float' },
  { name: 'int32', number: 3, type: 'int32' },
  { name: 'int64', number: 4, type: 'int64' },
  { name: 'uint32', number: 5, type: 'uint32' },
  { name: 'uint64', number: 6, type: 'uint64' },
  { name: 'sint32', number: 7, type: 'sint32' },
  { name: 'sint64', number: 8, type: 'sint64' },
  { name: 'fixed32', number: 9, type: 'fixed32' },
  { name: 'fixed64', number: 10, type: 'fixed64' },
  { name: 'sfixed32', number: 11, type: 'sfixed32' },
  { name: 'sfixed64', number: 12, type: 'sfixed64' },
  { name: 'bool', number: 13, type: 'bool' },
  { name: 'text', number: 14, type: 'string' },
  { name: 'bytes', number: 15, type: 'bytes' },
  { name: 'kind', number: 16, type: 'enum' },
  { name: 'packed', number: 17, type: 'sint32', repeated: 'packed' },
  { name: 'expanded', number: 18, type: 'int64', repeated: 'expanded' },
  { name: 'leaves', number: 19, type: Leaf, repeated: 'expanded' },
  { name: 'child', number: 20, type: Tree },
  { name: 'byName', number: 21, type: Leaf, key: 'string' },
  { name: 'byNumber', number: 22, type: 'uint32', key: 'int64' },
  { name: 'word', number: 23, type: 'string', oneof: 'choice' },
  { name: 'count', number: 24, type: 'int32', oneof: 'choice' },
  { name: 'leaf', number: 25, type: Leaf, oneof: 'choice' },
  { name: 'maybe', number: 536870911, type: 'int32', explicit: true },
]);

function full(): Tree {
  return Tree.create({
    double: -1.5e300,
    float: Math.fround(0.1),
    int32: -7,
    int64: -(2n ** 63n),
    uint32: 0xffffffff,
    uint64: 2n ** 64n - 1n,
    sint32: -0x80000000,
    sint64: -(2n ** 63n),
    fixed32: 0xfffffffe,
    fixed64: 2n ** 63n,
    sfixed32: -2,
    sfixed64: -3n,
    bool: true,
    text: 'größer 🙂',
    bytes: new Uint8Array([0, 255, 7]),
    kind: -1,
    packed: [0, -1, 1, 0x7fffffff],
    expanded: [0n, -1n, 5n],
    leaves: [{ label: '' }, { label: 'x'.repeat(300) }],
    child: Tree.create({ text: 'inner', child: Tree.create() }),
    byName: new Map([
      ['__proto__', { label: 'a' }],
      ['', { label: '' }],
    ]),
    byNumber: new Map([[-1n, 3]]),
    choice: { case: 'count', value: 0 },
    maybe: 0,
  });
}

function error(action: () => unknown): TenonError {
  try {
    action();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(TenonError);
    return thrown as TenonError;
  }
  throw new Error('expected an error');
}

describe('messages', () => {
  it('come back from their encoding as they were', () => {
    expect(Tree.decode(Tree.encode(full()))).toEqual(full());
  });

  it('with nothing set take no bytes and decode to defaults', () => {
    expect(Tree.encode(Tree.create())).toHaveLength(0);
    expect(Tree.decode(new Uint8Array(0))).toEqual(Tree.create());
    expect(Tree.create()).toMatchObject({ int64: 0n, text: '', packed: [], choice: undefined });
  });

  it('keep negative zero, which is not the default', () => {
    expect(Tree.decode(Tree.encode({ double: -0 })).double).toBe(-0);
  });

  it('accept a repeated field in either form', () => {
    const expanded = new WireWriter().tag(17, 0).sint32(-3).tag(17, 0).sint32(4).finish();
    expect(Tree.decode(expanded).packed).toEqual([-3, 4]);
    const packed = new BinaryWriter().tag(18, 2).fork().int64(9).int64(-9).join().finish();
    expect(Tree.decode(packed).expanded).toEqual([9n, -9n]);
  });

  it('merge when they come twice, and the last scalar wins', () => {
    const twice = new Uint8Array([
      ...Tree.encode({ child: Tree.create({ int32: 1, text: 'a' }) }),
      ...Tree.encode({ child: Tree.create({ text: 'b', leaves: [{ label: 'l' }] }) }),
    ]);
    expect(Tree.decode(twice).child).toMatchObject({
      int32: 1,
      text: 'b',
      leaves: [{ label: 'l' }],
    });
  });

  it('take the last of a oneof', () => {
    const bytes = new WireWriter().tag(24, 0).int32(5).tag(23, 2).text('last').finish();
    expect(Tree.decode(bytes).choice).toEqual({ case: 'word', value: 'last' });
  });

  it('pass over unknown fields, groups and known fields of another wire type', () => {
    const bytes = new WireWriter()
      .tag(100, 0)
      .uint64(7n)
      .tag(101, 1)
      .double(1)
      .tag(102, 2)
      .text('x')
      .tag(103, 3)
      .tag(104, 3)
      .tag(1, 5)
      .float(1)
      .tag(104, 4)
      .tag(103, 4)
      .tag(14, 0)
      .uint32(3)
      .tag(3, 0)
      .int32(42)
      .finish();
    expect(Tree.decode(bytes)).toEqual(Tree.create({ int32: 42 }));
  });

  it('give map entries without key or value their defaults', () => {
    const bytes = new WireWriter().tag(21, 2).uint32(0).finish();
    expect(Tree.decode(bytes).byName).toEqual(new Map([['', { label: '' }]]));
  });
});

describe('hostile bytes', () => {
  it('that end early are an error with the code asked for, at every length', () => {
    const bytes = Tree.encode(full());
    let valid = 0;
    for (let length = 0; length < bytes.length; length++) {
      try {
        Tree.decode(bytes.subarray(0, length), { code: 'ERR_TENON_MODEL_INVALID' });
        valid++;
      } catch (thrown) {
        expect((thrown as TenonError).code).toBe('ERR_TENON_MODEL_INVALID');
      }
    }
    expect(valid).toBeLessThan(bytes.length / 2);
  });

  it('nest no deeper than the limit', () => {
    let message = Tree.create();
    for (let depth = 0; depth < 100; depth++) message = Tree.create({ child: message });
    const accepted = Tree.encode(message);
    expect(() => Tree.decode(accepted)).not.toThrow();
    const wrapped = new WireWriter().tag(20, 2).byteString(accepted).finish();
    expect(error(() => Tree.decode(wrapped)).message).toContain('nested too deep');
    expect(error(() => Tree.encode({ child: message })).code).toBe('ERR_TENON_INVALID_ARGUMENT');
  });

  it('cannot overflow the stack with groups', () => {
    const groups = new Uint8Array(1_000_000).fill((100 << 3) | 3);
    for (let i = 0; i < groups.length; i += 2) groups.set([0xa3, 0x06], i);
    expect(error(() => Tree.decode(groups)).message).toContain('groups nested too deep');
  });

  it.each([
    ['a field number of zero', [0x00]],
    ['a wire type that does not exist', [0x0f]],
    ['a varint without an end', [0x08, ...new Array<number>(11).fill(0xff)]],
    ['a tag above 32 bits', [0xf8, 0xff, 0xff, 0xff, 0x7f, 0x00]],
    ['a length above 32 bits', [0x72, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]],
    ['a length above what is there', [0x72, 0x05, 0x41]],
    ['an end of group out of place', [0x0c]],
    ['a group closed as another', [0xa3, 0x06, 0xac, 0x06]],
    ['a string that is not UTF-8', [0x72, 0x01, 0xff]],
    ['a packed number that crosses its end', [0x8a, 0x01, 0x01, 0x80, 0x01]],
    ['an inner message that crosses its end', [0xa2, 0x01, 0x02, 0x72, 0x05, 1, 2, 3, 4, 5]],
  ])('with %s are refused', (_, bytes) => {
    const thrown = error(() => Tree.decode(new Uint8Array(bytes), { subject: 'a test' }));
    expect(thrown.code).toBe('ERR_TENON_INVALID_ARGUMENT');
    expect(thrown.message).toMatch(/^expected a protobuf test\.\w+ for "a test", received /);
  });

  it('cannot make more elements than allowed', () => {
    const empties = new WireWriter();
    for (let i = 0; i < 50; i++) empties.tag(19, 2).uint32(0);
    const encoded = empties.finish();
    expect(Tree.decode(encoded, { maxElements: 50 }).leaves).toHaveLength(50);
    expect(error(() => Tree.decode(encoded, { maxElements: 49 })).message).toContain('elements');
  });

  it('at random never raise anything but a TenonError', () => {
    const bytes = Tree.encode(full());
    let state = 1;
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state % below;
    };
    let refused = 0;
    for (let round = 0; round < 20_000; round++) {
      const damaged = bytes.slice();
      for (let i = 0; i <= random(4); i++) damaged[random(damaged.length)] = random(256);
      try {
        Tree.decode(damaged);
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(TenonError);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(1000);
  });
});

describe('numbers out of range', () => {
  it.each<[ScalarType, number | bigint]>([
    ['int32', 2 ** 31],
    ['uint32', -1],
    ['sint32', 0.5],
    ['fixed32', NaN],
    ['sfixed32', -(2 ** 31) - 1],
    ['int64', 2n ** 63n],
    ['uint64', -1n],
    ['sint64', -(2n ** 63n) - 1n],
    ['fixed64', 2n ** 64n],
    ['sfixed64', 2n ** 63n],
  ])('are not written as %s', (type, value) => {
    const Holder = messageType<{ value: unknown }>('test.Holder', () => [
      { name: 'value', number: 1, type },
    ]);
    expect(error(() => Holder.encode({ value })).code).toBe('ERR_TENON_INVALID_ARGUMENT');
  });
});

describe('the wire format', () => {
  const integers = [
    0,
    1,
    -1,
    127,
    128,
    16383,
    16384,
    2 ** 28 - 1,
    2 ** 28,
    2 ** 31 - 1,
    -(2 ** 31),
  ];
  const longs = [
    ...integers.map(BigInt),
    2n ** 32n,
    2n ** 35n - 1n,
    2n ** 56n,
    -(2n ** 40n),
    2n ** 63n - 1n,
    -(2n ** 63n),
  ];

  it('is that of another implementation, written', () => {
    for (const value of integers) {
      expect(new WireWriter().int32(value).sint32(value).sfixed32(value).finish()).toEqual(
        new BinaryWriter().int32(value).sint32(value).sfixed32(value).finish(),
      );
    }
    for (const value of longs) {
      expect(new WireWriter().int64(value).sint64(value).sfixed64(value).finish()).toEqual(
        new BinaryWriter().int64(value).sint64(value).sfixed64(value).finish(),
      );
      const unsigned = BigInt.asUintN(64, value);
      expect(new WireWriter().uint64(unsigned).fixed64(unsigned).finish()).toEqual(
        new BinaryWriter().uint64(unsigned).fixed64(unsigned).finish(),
      );
    }
  });

  it('is that of another implementation, read', () => {
    for (const value of longs) {
      const bytes = new BinaryWriter().int64(value).sint64(value).finish();
      const reader = new WireReader(bytes);
      expect([reader.int64(), reader.sint64()]).toEqual([value, value]);
      const narrow = new WireReader(bytes);
      const theirs = new BinaryReader(bytes);
      expect([narrow.int32(), narrow.sint32()]).toEqual([theirs.int32(), theirs.sint32()]);
    }
  });

  it('gives nested messages of every length their prefix', () => {
    for (const length of [0, 1, 127, 128, 16383, 16384, 2 ** 21]) {
      const content = new Uint8Array(length).fill(7);
      const writer = new WireWriter().tag(1, 2);
      const start = writer.fork();
      const bytes = writer.raw(content).join(start).tag(2, 0).uint32(9).finish();
      const expected = new BinaryWriter().tag(1, 2).bytes(content).tag(2, 0).uint32(9).finish();
      expect(Buffer.compare(bytes, expected)).toBe(0);
    }
  });
});

describe('the generated messages', () => {
  it('are current', () => {
    execFileSync(process.execPath, ['scripts/protobuf/generate.mjs', '--check']);
  });
});
