/**
 * Requests and their exact answers, from files of test/fixtures/rest. Entries are apart by empty
 * lines; lines that begin with "#" are comments. An entry is a line with method and URL, the body
 * if there is one, the HTTP status, the answer's body. "~" before the latter: only its beginning is
 * given. A last line "↵" is the line break that the answer ends with.
 */

import { readFileSync } from 'node:fs';

import { fixture } from './paths.js';

export interface Transcript {
  readonly line: number;
  readonly method: string;
  readonly url: string;
  readonly body: string | undefined;
  readonly status: number;
  readonly answer: string;
  /** Whether `answer` is only how the answer begins. */
  readonly isPrefix: boolean;
}

export function readTranscripts(file: string): Transcript[] {
  const lines = readFileSync(fixture('rest', file), 'utf8').split('\n');
  const transcripts: Transcript[] = [];
  let entry: string[] = [];
  let first = 0;
  lines.push('');
  lines.forEach((text, index) => {
    if (text.startsWith('#')) return;
    if (text !== '') {
      if (entry.length === 0) first = index + 1;
      entry.push(text);
      return;
    }
    if (entry.length === 0) return;
    transcripts.push(transcriptOf(entry, first));
    entry = [];
  });
  return transcripts;
}

function transcriptOf(entry: readonly string[], line: number): Transcript {
  const [method, url] = (entry[0] ?? '').split(' ');
  const statusAt = entry.findIndex((text) => /^\d{3}$/.test(text));
  if (method === undefined || url === undefined || statusAt < 1 || statusAt > 2) {
    throw new Error(`line ${line} begins no transcript`);
  }
  const answer = entry
    .slice(statusAt + 1)
    .join('\n')
    .replace(/\n↵$/, '\n');
  const isPrefix = answer.startsWith('~');
  return {
    line,
    method,
    url,
    body: statusAt === 2 ? entry[1] : undefined,
    status: Number(entry[statusAt]),
    answer: isPrefix ? answer.slice(1) : answer,
    isPrefix,
  };
}
