/** What tests outside of a browser use. */

interface ImageInput {
  readonly isBatch: boolean;
  readonly options: readonly {
    readonly layout: string;
    readonly height: number | undefined;
    readonly width: number | undefined;
    readonly channels: number;
  }[];
  readonly isLikely: boolean;
}

interface Counts {
  readonly requests?: number;
  readonly failures?: number;
  readonly runs?: number;
  readonly calls?: number;
  readonly latency?: readonly number[];
}

type Shape = readonly (number | string | null)[] | null;

export function exampleSizes(shape: Shape): number[];
export function exampleText(
  dtype: string,
  sizes: readonly number[],
  kind?: 'ones' | 'zeros' | 'random',
): string | undefined;
export function imageInput(spec: {
  name: string;
  dtype: string;
  shape: Shape;
}): ImageInput | undefined;
export function imageText(
  rgba: ArrayLike<number>,
  options: {
    height: number;
    width: number;
    channels: number;
    layout: string;
    isBatch: boolean;
    range: string;
  },
): string;
export function cropOf(
  from: { width: number; height: number },
  to: { width: number; height: number },
): { x: number; y: number; width: number; height: number };
export function predictBody(
  signature: string,
  inputs: readonly { name: string; text: string }[],
): string;
export function readJson(text: string): unknown;
export function modelUrl(name: string, place: Record<string, string>, verb: string): string;
export function curlCommand(url: string, body: string, hasToken: boolean): string;
export function rowsOf(value: unknown): number[][] | undefined;
export function isDistribution(row: readonly number[]): boolean;
export function topOf(row: readonly number[], count: number): { index: number; value: number }[];
export function quantileOf(
  counts: readonly number[],
  bounds: readonly number[],
  quantile: number,
): number | undefined;
export function numberText(value: number): string;
export function trafficBetween(
  before: Counts | undefined,
  after: Counts,
): Required<Omit<Counts, 'latency'>> & { latency: Map<number, number> };
