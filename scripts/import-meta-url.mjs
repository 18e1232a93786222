// Injected by tsup into the CommonJS build, where import.meta.url is replaced
// by this value.
import { pathToFileURL } from 'node:url';

export const importMetaUrl = pathToFileURL(__filename).href;
