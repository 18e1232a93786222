import { ModelSpec } from '../../protobuf/tensorflow-serving.js';

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

const encodedSpecs = new Map<string, Uint8Array>();
const maxEncodedSpecs = 256;

/** The bytes of a response's ModelSpec, which are those of the response before. */
export function encodeModelSpec(spec: ResponseModelSpec): Uint8Array {
  const { name, version, signatureName } = spec;
  // Either name may have any character in it.
  const key = `${version}/${name.length}/${name}${signatureName}`;
  let bytes = encodedSpecs.get(key);
  if (bytes === undefined) {
    bytes = ModelSpec.encode(toModelSpec(spec));
    if (encodedSpecs.size >= maxEncodedSpecs) encodedSpecs.clear();
    encodedSpecs.set(key, bytes);
  }
  return bytes;
}

export function toModelSpec({ name, version, signatureName }: ResponseModelSpec): ModelSpec {
  return {
    name,
    versionChoice: { case: 'version', value: { value: version } },
    signatureName,
  };
}

/** Of a request, with what it names. */
export function toRequestModelSpec({
  name,
  version,
  label,
  signatureName,
}: RequestModelSpec): ModelSpec {
  return {
    name,
    versionChoice:
      version !== undefined
        ? { case: 'version', value: { value: version } }
        : label !== undefined
          ? { case: 'versionLabel', value: label }
          : undefined,
    signatureName,
  };
}
