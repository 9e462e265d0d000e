/** The CRI's own numbering of stop signals, both ways. */
import { Signal } from '../../gen/runtime/v1/api.ts';
import { member } from './fields.ts';

const wireNames = Object.entries(Signal)
  .sort(([, a], [, b]) => a - b)
  .map(([name]) => name);

/** `SIGRTMINPLUS3` on the wire is `SIGRTMIN+3` for everyone else. Undefined for RUNTIME_DEFAULT. */
export function signalFromWire(value: number): string | undefined {
  const name = member(wireNames, value, 'config.stop_signal');
  return name === 'RUNTIME_DEFAULT' ? undefined : name.replace('PLUS', '+').replace('MINUS', '-');
}

/** RUNTIME_DEFAULT for a signal that the wire has no name for, such as a bare number of an image. */
export function signalToWire(name: string): Signal {
  const wire = name
    .replace('+', 'PLUS')
    .replace('-', 'MINUS')
    .toUpperCase()
    .replace(/^(?:SIG)?/, 'SIG');
  const found = Object.entries(Signal).find(([known]) => known === wire);
  return found?.[1] ?? Signal.RUNTIME_DEFAULT;
}
