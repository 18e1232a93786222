import { createHash } from 'node:crypto';

/** Longer ones are cut, so that a file's name has at most 255 bytes with what follows. */
const maxStem = 160;

/** A model's name as the beginning of a file's: whatever is in it, one of its own for each model. */
export function fileStem(model: string): string {
  const plain = encodeURIComponent(model.replace(/\p{Surrogate}/gu, '\ufffd'))
    // What is left that some file system, or a hidden file, would mind.
    .replace(/[!'()*.~]/g, (character) => `%${character.charCodeAt(0).toString(16)}`);
  if (plain.length <= maxStem) return plain;
  const hash = createHash('sha256').update(model).digest('hex').slice(0, 16);
  return `${plain.slice(0, maxStem - hash.length - 1)}-${hash}`;
}
