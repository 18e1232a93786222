/** The file that `load(…, { config })` reads: options, and where they come from. */

import path from 'node:path';

import type { LoadOptions } from '../index.js';
import type { Measurement, Objective, Point } from './rank.js';
import type { MachineDescription, TuneResult } from './tune.js';

export interface TuneConfigFile {
  readonly tenonConfig: 1;
  readonly options: LoadOptions;
  readonly provenance: {
    readonly tool: 'tenon tune';
    readonly tenon: string;
    readonly date: string;
    readonly model: { readonly file: string; readonly sha256: string };
    readonly engine: { readonly name: string; readonly version: string };
    readonly machine: MachineDescription;
    readonly objective: Objective;
    readonly seed: number;
    /** Rows of each request. */
    readonly rows: number;
    readonly ended: TuneResult['ended'];
    readonly measurements: { readonly chosen: Curve; readonly default: Curve };
  };
}

interface Curve {
  readonly points: readonly Point[];
  readonly residentBytes: number;
}

/** @param version Tenon's own. */
export function configFileOf(result: TuneResult, version: string): TuneConfigFile {
  const { model, engine, engineVersion, machine, objective, seed, rows, ended, date } = result;
  return {
    tenonConfig: 1,
    options: result.options,
    provenance: {
      tool: 'tenon tune',
      tenon: version,
      date,
      // The rest of the path is the machine's own.
      model: { file: path.basename(model.path), sha256: model.sha256 },
      engine: { name: engine, version: engineVersion },
      machine,
      objective,
      seed,
      rows,
      ended,
      measurements: {
        chosen: curveOf(result.chosen.measurement),
        default: curveOf(result.default.measurement),
      },
    },
  };
}

function curveOf({ points, residentBytes }: Measurement): Curve {
  return { points: points.map(rounded), residentBytes };
}

function rounded(point: Point): Point {
  const entries = Object.entries(point).map(([name, value]) => [
    name,
    Number((value as number).toPrecision(5)),
  ]);
  return Object.fromEntries(entries) as Point;
}
