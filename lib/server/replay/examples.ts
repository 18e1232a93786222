/** tensorflow.Example (example.proto, feature.proto) as the REST API writes it. */

import { type MessageType, messageType } from '../../protobuf/message.js';

interface Feature {
  kind:
    | { case: 'bytesList'; value: { value: Uint8Array[] } }
    | { case: 'floatList'; value: { value: number[] } }
    | { case: 'int64List'; value: { value: bigint[] } }
    | undefined;
}

const BytesList: MessageType<{ value: Uint8Array[] }> = messageType('tensorflow.BytesList', () => [
  { name: 'value', number: 1, type: 'bytes', repeated: 'expanded' },
]);
const FloatList: MessageType<{ value: number[] }> = messageType('tensorflow.FloatList', () => [
  { name: 'value', number: 1, type: 'float', repeated: 'packed' },
]);
const Int64List: MessageType<{ value: bigint[] }> = messageType('tensorflow.Int64List', () => [
  { name: 'value', number: 1, type: 'int64', repeated: 'packed' },
]);
const Feature: MessageType<Feature> = messageType('tensorflow.Feature', () => [
  { name: 'bytesList', number: 1, type: BytesList, oneof: 'kind' },
  { name: 'floatList', number: 2, type: FloatList, oneof: 'kind' },
  { name: 'int64List', number: 3, type: Int64List, oneof: 'kind' },
]);
const Features: MessageType<{ feature: Map<string, Feature> }> = messageType(
  'tensorflow.Features',
  () => [{ name: 'feature', number: 1, type: Feature, key: 'string' }],
);
const Example: MessageType<{ features: { feature: Map<string, Feature> } | undefined }> =
  messageType('tensorflow.Example', () => [{ name: 'features', number: 1, type: Features }]);

/** A list of examples, of serialized ones. */
export function examplesJson(examples: readonly Uint8Array[]): string {
  return `[${examples.map((bytes) => exampleJson(bytes)).join(', ')}]`;
}

function exampleJson(bytes: Uint8Array): string {
  const { features } = Example.decode(bytes);
  const members = [...(features?.feature ?? [])].map(
    ([name, feature]) => `${JSON.stringify(name)}: [${elementsOf(feature).join(', ')}]`,
  );
  return `{${members.join(', ')}}`;
}

function elementsOf({ kind }: Feature): string[] {
  switch (kind?.case) {
    case 'bytesList':
      return kind.value.value.map((bytes) => `{"b64": "${Buffer.from(bytes).toString('base64')}"}`);
    case 'floatList':
      // What looks like an integer would become an int64 feature.
      return kind.value.value.map((value) =>
        Number.isInteger(value) && Math.abs(value) < 1e21 ? `${value}.0` : String(value),
      );
    case 'int64List':
      return kind.value.value.map(String);
    case undefined:
      return [];
  }
}
