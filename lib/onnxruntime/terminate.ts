/**
 * `terminate` of run options: set to true while runs go on, it ends them. The caller's object is
 * watched from the first of them to the last.
 */

interface Watch {
  runs: Set<() => void>;
  value: unknown;
}

const watches = new WeakMap<object, Watch>();

/**
 * Calls `stop` when `options.terminate` becomes true. Only a `terminate` that the object has and
 * that can be replaced is watched.
 *
 * @returns What ends that, to be called once.
 */
export function onTerminate(options: object, stop: () => void): () => void {
  let watch = watches.get(options);
  if (watch === undefined) {
    const property = Object.getOwnPropertyDescriptor(options, 'terminate');
    if (property?.configurable !== true || property.writable !== true) return () => undefined;
    watch = { runs: new Set(), value: property.value };
    watches.set(options, watch);
    const { runs } = watch;
    const watched = watch;
    Object.defineProperty(options, 'terminate', {
      configurable: true,
      enumerable: property.enumerable === true,
      get: () => watched.value,
      set: (value: unknown) => {
        watched.value = value;
        if (value === true) for (const end of [...runs]) end();
      },
    });
  }
  const { runs } = watch;
  const watched = watch;
  runs.add(stop);
  return () => {
    runs.delete(stop);
    if (runs.size > 0 || watches.get(options) !== watched) return;
    watches.delete(options);
    const enumerable = Object.getOwnPropertyDescriptor(options, 'terminate')?.enumerable === true;
    Object.defineProperty(options, 'terminate', {
      configurable: true,
      enumerable,
      writable: true,
      value: watched.value,
    });
  };
}
