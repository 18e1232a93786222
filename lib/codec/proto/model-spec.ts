import type { ModelSpec } from '../../protobuf/tensorflow-serving.js';

/** tensorflow.serving.ModelSpec of a request. */
export interface RequestModelSpec {
  /** Empty where the request names no model. */
  readonly name: string;
  readonly version: bigint | undefined;
  readonly label: string | undefined;
  /** Empty where the request names none, which stands for "serving_default". */
  readonly signatureName: string;
}

/** Which model a response comes from. */
export interface ResponseModelSpec {
  readonly name: string;
  readonly version: bigint;
  readonly signatureName: string;
}

export function fromModelSpec({ name, versionChoice, signatureName }: ModelSpec): RequestModelSpec {
  return {
    name,
    version: versionChoice?.case === 'version' ? versionChoice.value.value : undefined,
    label: versionChoice?.case === 'versionLabel' ? versionChoice.value : undefined,
    signatureName,
  };
}

export function toModelSpec({ name, version, signatureName }: ResponseModelSpec): ModelSpec {
  return {
    name,
    versionChoice: { case: 'version', value: { value: version } },
    signatureName,
  };
}
