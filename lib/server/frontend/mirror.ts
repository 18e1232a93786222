import { StatusError } from '../../codec/status.js';
import { load } from '../../index.js';
import type {
  ModelDirectory,
  ModelListing,
  ModelSpec,
  Readiness,
  ServedModel,
  VersionStatus,
} from '../models.js';
import { ServedVersion } from '../repository/served-version.js';
import type { AvailableVersion, DirectoryState } from './messages.js';

interface MirroredModel {
  readonly listing: ModelListing;
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
  async add({
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
  async remove(id: number): Promise<void> {
    const served = this.#versions.get(id);
    if (served === undefined) return;
    this.#versions.delete(id);
    this.#match();
    await served.idle();
    await served.model.close();
  }

  /** Ends the runs that are under way. */
  async destroy(reason: Error): Promise<void> {
    const all = [...this.#versions.values()];
    this.#versions.clear();
    await Promise.all(all.map(({ model }) => model.destroy(reason)));
  }

  acquire({ name, version, label }: ModelSpec): ServedModel {
    const wanted = label === undefined ? version : this.#versionOf(name, label);
    const model = this.#byName.get(name);
    const served = wanted === undefined ? model?.latest : model?.available.get(wanted);
    if (served !== undefined) return served.acquire();
    throw new StatusError(
      'NOT_FOUND',
      `Servable not found for request: ${wanted === undefined ? `Latest(${name})` : `Specific(${name}, ${wanted})`}`,
    );
  }

  status({ name, version, label }: ModelSpec): readonly VersionStatus[] {
    const wanted = label === undefined ? version : this.#versionOf(name, label);
    const statuses = this.#byName.get(name)?.listing.versions ?? [];
    const found =
      wanted === undefined ? statuses : statuses.filter((status) => status.version === wanted);
    if (found.length > 0) return found;
    throw new StatusError(
      'NOT_FOUND',
      wanted === undefined
        ? `Could not find any versions of model ${name}`
        : `Could not find version ${wanted} of model ${name}`,
    );
  }

  list(): readonly ModelListing[] {
    return this.#state.models;
  }

  readiness(): Readiness {
    return this.#state.readiness;
  }

  #versionOf(name: string, label: string): bigint {
    const version = this.#byName.get(name)?.listing.labels[label];
    if (version !== undefined) return version;
    throw new StatusError('INVALID_ARGUMENT', `Unrecognized servable version label: ${label}`);
  }

  /** Which versions can be acquired: those AVAILABLE that are attached to. */
  #match(): void {
    const attached = new Map<string, ServedVersion>();
    for (const served of this.#versions.values()) {
      attached.set(`${served.version} ${served.name}`, served);
    }
    this.#byName = new Map(
      this.#state.models.map((listing) => {
        const available = new Map<bigint, ServedVersion>();
        for (const { version, state } of listing.versions) {
          const served = attached.get(`${version} ${listing.name}`);
          if (state === 'AVAILABLE' && served !== undefined) available.set(version, served);
        }
        // Newest first.
        const [latest] = available.values();
        return [listing.name, { listing, available, latest }];
      }),
    );
  }
}
