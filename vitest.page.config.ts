import { defineConfig } from 'vitest/config';

/** `npm run test:page`: the server's page in a browser, which `npm test` does not need. */
export default defineConfig({
  test: {
    include: ['test/page/**/*.browser.ts'],
    pool: 'forks',
    globalSetup: ['test/global-setup.ts'],
    testTimeout: 120_000,
    hookTimeout: 300_000,
    css: true,
    retry: 0,
    allowOnly: false,
  },
});
