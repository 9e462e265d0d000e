/** How an engine is started, once its configuration is written, and where it then listens. */
export interface EngineCommand {
  readonly argv: readonly string[];
  readonly socket: string;
}

/** For `untilListening`: emulated machines take minutes for what others do at once. */
export const readyTimeoutMs = process.env['GANTRY_TEST_HOST'] === 'vm' ? 300_000 : 60_000;
