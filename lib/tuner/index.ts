/** `tenon/tune`: finds the settings of `load()` for a model and a machine. */
export { configFileOf, type TuneConfigFile } from './config-file.js';
export type { Failure, Pruned, RaceProgress } from './race.js';
export type { Measurement, Objective, Point, Ranked, Score } from './rank.js';
export {
  comparison,
  fateOf,
  isDefault,
  numeral,
  objectiveText,
  reportOf,
  searchText,
} from './report.js';
export {
  type Configuration,
  type GraphLevel,
  keyOf as describeConfiguration,
  type TuneSpace,
} from './space.js';
export {
  type MachineDescription,
  tune,
  type TuneOptions,
  type TuneProgress,
  type TuneResult,
} from './tune.js';
