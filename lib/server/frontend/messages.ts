/** What the main thread and a front-end thread tell each other. */

import type { StatusName } from '../../codec/status.js';
import type { BatchingOptions, SharedModel } from '../../index.js';
import type { ModelServerConfig } from '../config/model-config.js';
import type { MetricSnapshot } from '../metric-registry.js';
import type { ModelListing, Readiness, SignatureDef } from '../models.js';
import type { FrontendSettings } from '../options.js';
import type { Traffic } from '../traffic/config.js';

export type Transport = 'rest' | 'grpc';

/** What a front-end thread is started with. */
export interface FrontendThreadData {
  readonly settings: FrontendSettings;
  /** "frontend-1" */
  readonly thread: string;
  /** Its number among those that record requests: 0 is the main thread's. */
  readonly recordSlot: number;
  readonly logLevel: string;
}

/** A version that the main thread has loaded. */
export interface AvailableVersion {
  readonly id: number;
  readonly name: string;
  readonly version: bigint;
  readonly share: SharedModel;
  readonly batching: boolean | 'auto' | BatchingOptions;
  readonly signatureDefs: Readonly<Record<string, SignatureDef>>;
  readonly maxRows: number | undefined;
}

export interface DirectoryState {
  readonly models: readonly ModelListing[];
  readonly readiness: Readiness;
}

/** All metrics, or those that the page draws and canaries are judged by. */
export type Measured = 'all' | 'traffic';

export interface ErrorMessage {
  /** Of a StatusError; undefined for any other. */
  readonly status: StatusName | undefined;
  readonly message: string;
}

export type ToFrontend =
  | { readonly kind: 'state'; readonly state: DirectoryState }
  | { readonly kind: 'available'; readonly request: number; readonly version: AvailableVersion }
  | { readonly kind: 'unload'; readonly request: number; readonly id: number }
  | { readonly kind: 'connection'; readonly transport: Transport; readonly descriptor: number }
  | { readonly kind: 'traffic'; readonly traffic: Traffic }
  | { readonly kind: 'measure'; readonly request: number; readonly what: Measured }
  | { readonly kind: 'begin-drain' }
  | { readonly kind: 'drain'; readonly timeoutMs: number }
  /** Everything that is there by now has been told. */
  | { readonly kind: 'start' }
  | {
      readonly kind: 'answer';
      readonly request: number;
      readonly text: string;
      readonly error: ErrorMessage | undefined;
    };

export type FromFrontend =
  /** It takes connections from now on. */
  | { readonly kind: 'ready' }
  /** An 'available' or 'unload' has been done. */
  | { readonly kind: 'done'; readonly request: number; readonly error: ErrorMessage | undefined }
  /** The page for Prometheus, the numbers of the page to look at, or what was measured of inference. */
  | { readonly kind: 'scrape' | 'numbers' | 'statistics'; readonly request: number }
  | {
      readonly kind: 'control';
      readonly request: number;
      readonly act: 'loadModel' | 'unloadModel';
      readonly name: string;
    }
  | { readonly kind: 'reload'; readonly request: number; readonly config: ModelServerConfig }
  | { readonly kind: 'closed'; readonly transport: Transport }
  | {
      readonly kind: 'measured';
      readonly request: number;
      readonly metrics: readonly MetricSnapshot[];
    }
  | { readonly kind: 'drained'; readonly cutOff: number }
  | { readonly kind: 'log'; readonly line: string };
