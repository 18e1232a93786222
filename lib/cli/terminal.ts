/** What terminals and pipes both like: aligned text, colour only where someone sees it. */

import type { WriteStream } from 'node:tty';

export interface Style {
  bold(text: string): string;
  dim(text: string): string;
}

/** Colours only on a terminal that has them and where NO_COLOR is not set. */
export function styleOf(stream: NodeJS.WriteStream): Style {
  const terminal = stream as Partial<WriteStream>;
  const isColoured =
    terminal.isTTY === true && !process.env['NO_COLOR'] && terminal.hasColors?.() === true;
  const paint =
    (code: number) =>
    (text: string): string =>
      isColoured && text !== '' ? `\x1b[${code}m${text}\x1b[0m` : text;
  return { bold: paint(1), dim: paint(2) };
}

/**
 * Text from a model's file, safe to print: names can hold escape sequences, and a terminal acts
 * on those.
 */
export function printable(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

/** Rows in columns as wide as their widest cell; the last is left as it is. */
export function columns(rows: readonly (readonly string[])[], indent = 0): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, index) => {
      widths[index] = Math.max(widths[index] ?? 0, width(cell));
    });
  }
  const margin = ' '.repeat(indent);
  return rows.map((row) =>
    `${margin}${row.map((cell, index) => pad(cell, widths[index] ?? 0)).join('  ')}`.trimEnd(),
  );
}

/** Columns a text takes, near enough: escape sequences take none, wide characters two. */
function width(text: string): number {
  let columns = 0;
  // eslint-disable-next-line no-control-regex -- the sequences styleOf() adds
  for (const char of text.replaceAll(/\x1b\[\d+m/g, '')) {
    columns +=
      /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\u{1f300}-\u{1faff}]/u.test(
        char,
      )
        ? 2
        : 1;
  }
  return columns;
}

function pad(text: string, to: number): string {
  return text + ' '.repeat(Math.max(0, to - width(text)));
}

/** "1,234,567": the same everywhere, whatever the machine's language. */
export function grouped(value: number): string {
  return value.toLocaleString('en-US');
}

/** "1 tensor", "2,000 tensors". */
export function counted(count: number, noun: string): string {
  return `${grouped(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** Decimal units: "274 MB". */
export function bytesText(bytes: number): string {
  for (const [unit, size] of [
    ['GB', 1e9],
    ['MB', 1e6],
    ['kB', 1e3],
  ] as const) {
    if (bytes >= size) return `${Number((bytes / size).toPrecision(3))} ${unit}`;
  }
  return `${bytes} B`;
}
