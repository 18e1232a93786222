/**
 * JSON with all that tensors hold: 64-bit integers exactly, and the numbers JSON has no words
 * for. They are written as Python does with strings around them ("NaN"), and read with or
 * without.
 */

const unsafeNumber =
  /"(?:[^"\\]|\\.)*"|(?<![\w.])-?(?:\d{16,}(?![\d.eE])|Infinity\b)|(?<![\w.])NaN\b/g;

/**
 * Like JSON.parse, but integers beyond 2^53 come as bigint, and bare NaN, Infinity and
 * -Infinity, as Python writes them, are numbers. Throws SyntaxError.
 */
export function parseJson(text: string): unknown {
  const held: (bigint | number)[] = [];
  // Nothing in the text can look like this: it is not in it.
  let mark = '\u0001';
  while (text.includes(JSON.stringify(mark).slice(1, -1)) || text.includes(mark)) mark += '\u0001';
  const replaced = text.replaceAll(unsafeNumber, (token) => {
    if (token.startsWith('"')) return token;
    const value = /\d/.test(token) ? BigInt(token) : Number(token);
    const isExact = typeof value === 'bigint' && Number.isSafeInteger(Number(value));
    if (isExact) return token;
    held.push(value);
    return JSON.stringify(`${mark}${held.length - 1}`);
  });
  if (held.length === 0) return JSON.parse(text) as unknown;
  return JSON.parse(replaced, (_, value: unknown) =>
    typeof value === 'string' && value.startsWith(mark)
      ? held[Number(value.slice(mark.length))]
      : value,
  ) as unknown;
}

/**
 * JSON of plain values, Maps (as objects), bigints (as numbers), numbers JSON has no words for
 * (as "NaN", "Infinity", "-Infinity") and bytes (as `{"b64": …}`). Objects are laid out over
 * lines, arrays are not.
 */
export function formatJson(value: unknown, indent = ''): string {
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number' && !Number.isFinite(value)) return `"${value}"`;
  if (value instanceof Uint8Array) {
    return `{"b64": "${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')}"}`;
  }
  if (Array.isArray(value)) {
    return `[${value.map((item) => formatJson(item, indent)).join(', ')}]`;
  }
  if (typeof value === 'object' && value !== null) {
    const entries: [unknown, unknown][] =
      value instanceof Map ? [...(value as Map<unknown, unknown>)] : Object.entries(value);
    const shown = entries.filter(([, item]) => item !== undefined);
    if (shown.length === 0) return '{}';
    const inner = `${indent}  `;
    const lines = shown.map(
      ([key, item]) => `${inner}${JSON.stringify(String(key))}: ${formatJson(item, inner)}`,
    );
    return `{\n${lines.join(',\n')}\n${indent}}`;
  }
  return JSON.stringify(value) ?? 'null';
}
