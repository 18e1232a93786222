import type { DType, Dimension, Signature, ValueSpec } from '../index.js';

export interface TypesSource {
  /** Becomes the type's name: "digits-cnn" → DigitsCnn. */
  readonly name: string;
  readonly signatures: Readonly<Record<string, Signature>>;
}

/**
 * TypeScript source with one exported type: the feeds and outputs of every signature, to be
 * given to `load<…>()`. Inputs and outputs of kinds Tenon has no value for are left out, with a
 * comment. (A type, not an interface: only type aliases fit an index signature.) Ends with a newline and is laid out as prettier does it at 100 columns with single
 * quotes.
 */
export function typesOf(model: TypesSource, typeName = typeNameOf(model.name)): string {
  const imports = new Set<string>();
  const signatures = Object.values(model.signatures).map((signature) => {
    const feeds = membersOf(signature.inputs, (spec) => feedType(spec, imports));
    const outputs = membersOf(signature.outputs, (spec) => outputType(spec, imports));
    return [
      ...(signature.methodName ? [comment(`Method ${signature.methodName}.`, 1)] : []),
      `  ${propertyName(signature.name)}: {`,
      ...block('feeds', feeds),
      ...block('outputs', outputs),
      '  };',
    ].join('\n');
  });
  const names = [...imports].sort().join(', ');
  const lines = [
    '// Written by `tenon types`.',
    ...(names === '' ? [] : ['', `import type { ${names} } from 'tenon';`]),
    '',
    comment(`Feeds and outputs of ${model.name}, for load<${typeName}>().`, 0),
    `export type ${typeName} = {`,
    ...(signatures.length === 0
      ? ['  [signature: string]: { feeds: Record<string, never>; outputs: Record<string, never> };']
      : signatures),
    '};',
  ];
  return `${lines.join('\n')}\n`;
}

/** An identifier in PascalCase made of the words of a name; "Model" where nothing is left. */
export function typeNameOf(name: string): string {
  const words = name.split(/[^\p{ID_Continue}]+|_+/u).filter((word) => word !== '');
  const joined = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
  if (joined === '') return 'Model';
  return /^\p{ID_Start}/u.test(joined) ? joined : `Model${joined}`;
}

function block(name: string, members: readonly string[]): string[] {
  if (members.length === 0) return [`    ${name}: Record<string, never>;`];
  return [`    ${name}: {`, ...members, '    };'];
}

function membersOf(
  specs: Readonly<Record<string, ValueSpec>>,
  typeOf: (spec: ValueSpec) => string | undefined,
): string[] {
  const members: string[] = [];
  const values = Object.values(specs);
  const leftOut = values.filter((spec) => typeOf(spec) === undefined);
  for (const spec of values) {
    const type = typeOf(spec);
    if (type === undefined) continue;
    members.push(comment(describeSpec(spec), 3));
    members.push(`      ${propertyName(spec.name)}${spec.optional === true ? '?' : ''}: ${type};`);
  }
  // A block of comments alone would be an empty type.
  if (members.length > 0) {
    for (const { name, kind } of leftOut) {
      members.push(`      // ${oneLine(name)}: ${kind}, for which there is no value.`);
    }
  }
  return members;
}

function feedType(spec: ValueSpec, imports: Set<string>): string | undefined {
  switch (spec.kind) {
    case 'tensor':
      imports.add('TensorFeed');
      return `TensorFeed<'${spec.dtype}'>`;
    case 'sequence': {
      const element = feedType(spec.element, imports);
      if (element === undefined) return undefined;
      return `readonly ${element.includes(' ') ? `(${element})` : element}[]`;
    }
    case 'map': {
      const value = scalarType(spec.value);
      return value === undefined ? undefined : `ReadonlyMap<${elementType(spec.key)}, ${value}>`;
    }
    case 'optional': {
      const element = feedType(spec.element, imports);
      return element === undefined ? undefined : `${element} | null`;
    }
    default:
      return undefined;
  }
}

function outputType(spec: ValueSpec, imports: Set<string>): string | undefined {
  switch (spec.kind) {
    case 'tensor':
      imports.add('Tensor');
      return `Tensor<'${spec.dtype}'>`;
    case 'sequence': {
      const element = outputType(spec.element, imports);
      if (element === undefined) return undefined;
      return `${element.includes(' | ') ? `(${element})` : element}[]`;
    }
    case 'map': {
      const value = scalarType(spec.value);
      return value === undefined ? undefined : `Map<${elementType(spec.key)}, ${value}>`;
    }
    case 'optional': {
      const element = outputType(spec.element, imports);
      return element === undefined ? undefined : `${element} | null`;
    }
    default:
      return undefined;
  }
}

/** The values of maps are scalars. */
function scalarType(spec: ValueSpec): string | undefined {
  return spec.kind === 'tensor' ? elementType(spec.dtype) : undefined;
}

function elementType(dtype: DType): string {
  switch (dtype) {
    case 'string':
      return 'string';
    case 'int64':
    case 'uint64':
      return 'bigint';
    default:
      return 'number';
  }
}

/** "float32 [batch, 8, 8, 1]", "sequence of float32 []", "map from int64 to float32 []" … */
export function describeSpec(spec: ValueSpec): string {
  switch (spec.kind) {
    case 'tensor':
      return `${spec.dtype} ${describeShape(spec.shape)}`;
    case 'sequence':
      return `sequence of ${describeSpec(spec.element)}`;
    case 'map':
      return `map from ${spec.key} to ${
        spec.value.kind === 'tensor' ? spec.value.dtype : describeSpec(spec.value)
      }`;
    case 'optional':
      return `optional ${describeSpec(spec.element)}`;
    default:
      return spec.kind;
  }
}

/** "[batch, 224, ?]"; "[]" for a scalar, "of any shape" where the rank is unknown. */
export function describeShape(shape: readonly Dimension[] | null): string {
  if (shape === null) return 'of any shape';
  return `[${shape.map((dimension) => dimension ?? '?').join(', ')}]`;
}

function propertyName(name: string): string {
  if (/^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(name)) return name;
  // JSON's escapes are JavaScript's; single quotes are the style.
  const escaped = JSON.stringify(name)
    .slice(1, -1)
    .replaceAll('\\"', '"')
    .replaceAll("'", "\\'")
    .replaceAll('\u2028', '\\u2028')
    .replaceAll('\u2029', '\\u2029');
  return `'${escaped}'`;
}

function comment(text: string, indent: number): string {
  return `${'  '.repeat(indent)}/** ${oneLine(text)} */`;
}

/** Names come from the model's file: none may end the comment it stands in. */
function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029]+/gu, ' ').replaceAll('*/', '*\\/');
}
