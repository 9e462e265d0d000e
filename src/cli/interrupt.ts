/** Ctrl-C and SIGTERM as an AbortSignal, for commands that have something to undo. */
import { EngineError } from '../lib/errors.ts';

export interface Interrupt extends Disposable {
  readonly signal: AbortSignal;
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** From now until disposed the first signal aborts; a second one ends the process, as signals do. */
export function interruptible(): Interrupt {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    release();
    controller.abort(new EngineError('cancelled', `interrupted by ${name}`));
  };
  const release = (): void => {
    for (const name of signals) process.off(name, onSignal);
  };
  for (const name of signals) process.on(name, onSignal);
  return { signal: controller.signal, [Symbol.dispose]: release };
}
