export interface Block {
  /** "ts", "python" … as the fence says; "" where it says nothing. */
  language: string;
  /** What follows the language on the fence's line. */
  flags: string[];
  /** The nearest heading above. */
  heading: string;
  /** Which block of that language it is under that heading, from 1. */
  number: number;
  /** The line of the opening fence, from 1. */
  line: number;
  text: string;
}

export function readBlocks(markdown: string): Block[];
export function printsOf(text: string): string[];
export function writeProgram(folder: string, name: string, block: Block): string;
export function linkPackage(folder: string, name: string, target: string): void;
