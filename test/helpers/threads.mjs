/** The native threads of a process, as Linux tells of them. */

import { readdirSync, readFileSync } from 'node:fs';

/** Of a thread's flags: it is ending. */
const exiting = 4;

/**
 * Those of this process that are not ending: one that has been joined may be listed for a moment
 * longer, on a machine that is busy.
 */
export function livingThreads() {
  return readdirSync('/proc/self/task').flatMap((id) => {
    let stat;
    try {
      stat = readFileSync(`/proc/self/task/${id}/stat`, 'utf8');
    } catch {
      return []; // gone meanwhile
    }
    // "id (name) state …"; what is in a name may be anything.
    const end = stat.lastIndexOf(')');
    const fields = stat.slice(end + 2).split(' ');
    if ((Number(fields[6]) & exiting) !== 0) return [];
    const name = stat.slice(stat.indexOf('(') + 1, end);
    return [{ id, name, niceness: Number(fields[16]) }];
  });
}
