export function whyNoProvider(): string | undefined;
export function driverEnvironment(): Record<string, string> | undefined;
export function fetchDriver(): string | undefined;
