export function writeTinyBert(folder: string, size?: { layers?: number; width?: number }): void;
