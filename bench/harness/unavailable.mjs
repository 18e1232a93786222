/** Thrown by a contender that measures what this version of Tenon, or this machine, has not. */
export class Unavailable extends Error {}
