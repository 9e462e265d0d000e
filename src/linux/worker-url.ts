/**
 * The file of a worker thread next to the calling module, `x.worker.ts` when run from source and `x.worker.js` when run from `dist/`.
 * `name` is without extension (`./poll.worker`), `moduleUrl` is the caller's `import.meta.url`.
 */
export function workerUrl(name: `./${string}.worker`, moduleUrl: string): URL {
  return new URL(name + (moduleUrl.endsWith('.ts') ? '.ts' : '.js'), moduleUrl);
}
