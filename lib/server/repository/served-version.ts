import type { Model } from '../../index.js';
import type { ServedModel, SignatureDef } from '../models.js';

/** What listeners and the warm-up see of a version. */
export interface ServedVersionInfo {
  readonly name: string;
  readonly version: bigint;
  readonly model: Model;
  readonly signatureDefs: Readonly<Record<string, SignatureDef>>;
  /** As `ServedModel` has it. */
  readonly maxRows: number | undefined;
}

/** A loaded version and the requests that hold it. */
export class ServedVersion implements ServedVersionInfo {
  readonly name: string;
  readonly version: bigint;
  readonly model: Model;
  readonly signatureDefs: Readonly<Record<string, SignatureDef>>;
  readonly maxRows: number | undefined;
  #requests = 0;
  #onIdle: (() => void)[] = [];

  constructor(info: ServedVersionInfo) {
    this.name = info.name;
    this.version = info.version;
    this.model = info.model;
    this.signatureDefs = info.signatureDefs;
    this.maxRows = info.maxRows;
  }

  /** Requests that hold it now. */
  get requests(): number {
    return this.#requests;
  }

  acquire(): ServedModel {
    this.#requests++;
    return new Hold(this, () => {
      if (--this.#requests > 0) return;
      const idle = this.#onIdle;
      this.#onIdle = [];
      for (const resolve of idle) resolve();
    });
  }

  /** Resolves when no request holds it; who waits sees to it that no new one comes. */
  idle(): Promise<void> {
    if (this.#requests === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onIdle.push(resolve));
  }
}

class Hold implements ServedModel {
  readonly #served: ServedVersion;
  #release: (() => void) | undefined;

  constructor(served: ServedVersion, release: () => void) {
    this.#served = served;
    this.#release = release;
  }

  get name(): string {
    return this.#served.name;
  }

  get version(): bigint {
    return this.#served.version;
  }

  get model(): Model {
    return this.#served.model;
  }

  get maxRows(): number | undefined {
    return this.#served.maxRows;
  }

  signatureDefs(): Readonly<Record<string, SignatureDef>> {
    return this.#served.signatureDefs;
  }

  /** A second call does nothing: it must not count for another request. */
  release(): void {
    const release = this.#release;
    this.#release = undefined;
    release?.();
  }
}
