import { EngineError, type ErrorKind } from '../lib/errors.ts';

/** Codes of the protocol that a caller acts on (CNI 1.1, "Error codes"). */
export const pluginCodes = {
  unknownContainer: 3,
  tryAgainLater: 11,
  notAvailable: 50,
  limited: 51,
} as const;

/** A plugin that failed. `pluginCode` is the code of its error document; undefined when it gave none. */
export class PluginError extends EngineError {
  readonly plugin: string;
  readonly pluginCode: number | undefined;

  constructor(
    plugin: string,
    message: string,
    options: { readonly kind?: ErrorKind; readonly code?: number; readonly cause?: unknown } = {},
  ) {
    super(options.kind ?? kindOfCode(options.code), message, { cause: options.cause });
    this.plugin = plugin;
    this.pluginCode = options.code;
  }
}

function kindOfCode(code: number | undefined): ErrorKind {
  switch (code) {
    case pluginCodes.tryAgainLater:
    case pluginCodes.notAvailable:
    case pluginCodes.limited:
      return 'unavailable';
    // Incompatible version, unsupported field, invalid network configuration: the node's configuration must change.
    case 1:
    case 2:
    case 7:
      return 'failed-precondition';
    default:
      return 'internal';
  }
}
