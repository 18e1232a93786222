import { setImmediate as nextTurn } from 'node:timers/promises';

import { expect, test } from 'vitest';

import { Turn } from '../../lib/server/turn.js';

test('calls are made in order at the end of the turn of the event loop', async () => {
  const turn = new Turn();
  const made: number[] = [];
  turn.atEnd(() => made.push(1));
  await Promise.resolve();
  turn.atEnd(() => made.push(2));
  expect(made).toEqual([]);
  await nextTurn();
  expect(made).toEqual([1, 2]);
});

test('of many calls none waits for the rest', async () => {
  const turn = new Turn();
  let made = 0;
  for (let i = 0; i < 16; i++) turn.atEnd(() => made++);
  expect(made).toBe(16);
  for (let i = 0; i < 3; i++) turn.atEnd(() => made++);
  expect(made).toBe(16);
  await nextTurn();
  expect(made).toBe(19);
});

test('what a call puts off happens in the next turn', async () => {
  const turn = new Turn();
  const made: number[] = [];
  turn.atEnd(() => {
    made.push(1);
    turn.atEnd(() => made.push(2));
  });
  await nextTurn();
  expect(made).toEqual([1]);
  await nextTurn();
  expect(made).toEqual([1, 2]);
});
