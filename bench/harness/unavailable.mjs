/** Thrown by a contender that measures what this machine has not, such as an engine. */
export class Unavailable extends Error {}
