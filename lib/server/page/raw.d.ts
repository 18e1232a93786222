/** A file's text, which the bundler puts into the bundle. */
declare module '*?raw' {
  const text: string;
  export default text;
}
