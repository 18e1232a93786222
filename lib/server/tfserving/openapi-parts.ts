/** What OpenAPI documents are made of. */

export type Schema = Readonly<Record<string, unknown>>;

/** Another API under the same prefix. */
export interface OpenApiPart {
  readonly paths: Readonly<Record<string, Schema>>;
  readonly schemas: Readonly<Record<string, Schema>>;
  readonly parameters: Readonly<Record<string, Schema>>;
}

export const ref = (kind: string, name: string): Schema => ({
  $ref: `#/components/${kind}/${name}`,
});

export const schema = (name: string): Schema => ref('schemas', name);

export const json = (description: string, of: Schema): Schema => ({
  description,
  content: { 'application/json': { schema: of } },
});

/** One whose errors are `{"error": "<message>"}`. */
export const operation = (
  summary: string,
  description: string,
  of: Schema,
  body?: Schema,
): Schema => ({
  summary,
  ...(body === undefined
    ? {}
    : { requestBody: { required: true, content: { 'application/json': { schema: body } } } }),
  responses: { '200': json(description, of), default: ref('responses', 'Error') },
});
