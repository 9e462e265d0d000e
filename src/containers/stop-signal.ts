/** Signal names as images and the CRI write them. */
import { constants } from 'node:os';
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';

const firstRealtime = 34;
const lastRealtime = 64;

/**
 * The signal that stops a container: the request's, else the image's, else SIGTERM. An image that names none that
 * exists does not make its containers impossible: SIGTERM is used.
 *
 * @throws EngineError invalid-argument for an unknown signal in the request
 */
export function stopSignalOf(requested: string | undefined, ofImage: string | undefined): string {
  if (requested !== undefined) {
    if (signalNumber(requested) === undefined)
      throw new EngineError('invalid-argument', `stop_signal: ${quote(requested)} is not a signal`);
    return requested;
  }
  return ofImage !== undefined && signalNumber(ofImage) !== undefined ? ofImage : 'SIGTERM';
}

/** The number of `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3` or `SIGRTMAX-1`; undefined if there is no such signal. */
export function signalNumber(text: string): number | undefined {
  if (/^\d{1,2}$/.test(text)) {
    const number = Number(text);
    return number >= 1 && number <= lastRealtime ? number : undefined;
  }
  const name = text.toUpperCase().replace(/^(?:SIG)?/, 'SIG');
  const realtime = /^SIGRTM(?:IN(?:\+(\d{1,2}))?|AX(?:-(\d{1,2}))?)$/.exec(name);
  if (realtime !== null) {
    const number = name.startsWith('SIGRTMIN')
      ? firstRealtime + Number(realtime[1] ?? 0)
      : lastRealtime - Number(realtime[2] ?? 0);
    return number >= firstRealtime && number <= lastRealtime ? number : undefined;
  }
  return Object.entries(constants.signals).find(([known]) => known === name)?.[1];
}
