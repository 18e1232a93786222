/** A Kubernetes object. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

/** The objects of a YAML file. */
export function readManifests(file: string): Manifest[];

/** What a folder's kustomization makes; names of generated ConfigMaps are without their hash. */
export function kustomize(folder: string): Manifest[];
