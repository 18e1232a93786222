/** What the commands use of Tenon: its public API. */

export * from '../index.js';
export { createProgressBar } from '../engines/index.js';
export {
  inspect,
  type GraphDefDescription,
  type ModelDescription,
  type OnnxDescription,
  type SavedModelDescription,
} from '../inspect/index.js';
