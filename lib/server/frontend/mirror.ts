import { load } from '../../index.js';
import {
  type ModelDirectory,
  type ModelListing,
  type ModelSpec,
  type Readiness,
  type ServedModel,
  servableNotFound,
  statusesMeant,
  versionMeant,
  type VersionStatus,
} from '../models.js';
import { ServedVersion } from '../repository/served-version.js';
import type { AvailableVersion, DirectoryState } from './messages.js';

interface MirroredModel {
  readonly versions: readonly VersionStatus[];
  readonly labels: ReadonlyMap<string, bigint>;
  readonly available: ReadonlyMap<bigint, ServedVersion>;
  readonly latest: ServedVersion | undefined;
}

/**
 * The main thread's models as a front-end thread sees them. The main thread says which there are;
 * a version can be acquired here between `add` and `remove`, which frame the time it is AVAILABLE.
 */
export class MirrorDirectory implements ModelDirectory {
  #state: DirectoryState = {
    models: [],
    readiness: { ready: false, waiting: [], failed: [] },
  };
  #byName = new Map<string, MirroredModel>();
  /** By the number that the main thread gave. */
  readonly #versions = new Map<number, ServedVersion>();
  /** Those that are being attached to, by the same number. */
  readonly #adding = new Map<number, Promise<void>>();
  readonly #onChange: () => void;

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  update(state: DirectoryState): void {
    this.#state = state;
    this.#match();
    this.#onChange();
  }

  /** Attaches to a version, which may be acquired when the main thread says it is AVAILABLE. */
  add(version: AvailableVersion): Promise<void> {
    const added = this.#attach(version).finally(() => this.#adding.delete(version.id));
    this.#adding.set(version.id, added);
    return added;
  }

  async #attach({
    id,
    name,
    version,
    share,
    batching,
    signatureDefs,
    maxRows,
  }: AvailableVersion): Promise<void> {
    const model = await load(share, { batching, validateShapes: false });
    this.#versions.set(id, new ServedVersion({ name, version, model, signatureDefs, maxRows }));
    this.#match();
  }

  /** Lets go of a version once the requests that hold it have ended. */
  async remove(id: number): Promise<ServedVersion | undefined> {
    // A thread that takes another's place hears of a version that goes as soon as it came.
    await this.#adding.get(id)?.catch(() => undefined);
    const served = this.#versions.get(id);
    if (served === undefined) return undefined;
    this.#versions.delete(id);
    this.#match();
    await served.idle();
    await served.model.close();
    return served;
  }

  /** The versions that are attached to. */
  attached(): Iterable<ServedVersion> {
    return this.#versions.values();
  }

  acquire(spec: ModelSpec): ServedModel {
    const model = this.#byName.get(spec.name);
    const version = versionMeant(spec, model?.labels);
    const served = version === undefined ? model?.latest : model?.available.get(version);
    if (served === undefined) throw servableNotFound(spec.name, version);
    return served.acquire();
  }

  status(spec: ModelSpec): readonly VersionStatus[] {
    const model = this.#byName.get(spec.name);
    return statusesMeant(spec.name, versionMeant(spec, model?.labels), model?.versions ?? []);
  }

  list(): readonly ModelListing[] {
    return this.#state.models;
  }

  readiness(): Readiness {
    return this.#state.readiness;
  }

  /** Which versions can be acquired: those AVAILABLE that are attached to. */
  #match(): void {
    const attached = new Map<string, ServedVersion>();
    for (const served of this.#versions.values()) {
      attached.set(`${served.version} ${served.name}`, served);
    }
    this.#byName = new Map(
      this.#state.models.map(({ name, versions, labels }) => {
        const available = new Map<bigint, ServedVersion>();
        for (const { version, state } of versions) {
          const served = attached.get(`${version} ${name}`);
          if (state === 'AVAILABLE' && served !== undefined) available.set(version, served);
        }
        // Newest first.
        const [latest] = available.values();
        return [name, { versions, labels: new Map(Object.entries(labels)), available, latest }];
      }),
    );
  }
}
