/**
 * Names parts of the work on a request, from wherever they are done. Which request it is follows from the asynchronous
 * context, so that no function has to hand it on; outside of a request a phase is just its work.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { OpenTrace } from './open-trace.ts';

interface Enclosing {
  readonly trace: OpenTrace;
  /** The phase around; -1 for the request itself. */
  readonly index: number;
}

const enclosing = new AsyncLocalStorage<Enclosing>();

/** Does the work of a request: all phases inside become its own. */
export function withTrace<T>(trace: OpenTrace, work: () => T): T {
  return enclosing.run({ trace, index: -1 }, work);
}

/** Begins what outlives the request that asked for it, and would keep its trace for as long. */
export function outsideRequest<T>(work: () => T): T {
  return enclosing.exit(work);
}

/** The same bytes, whose reading is a phase: from the first to the last one, or until the reader leaves. */
export async function* phaseOfStream<T>(name: string, source: AsyncIterable<T>): AsyncGenerator<T> {
  const around = enclosing.getStore();
  const index = around?.trace.openPhase(name, around.index);
  let hasFailed = true;
  try {
    yield* source;
    hasFailed = false;
  } finally {
    if (index !== undefined) around?.trace.closePhase(index, hasFailed);
  }
}

/** Does `work` as a phase of the request that asked for it, and gives its result or its error. See `Phase` for names. */
export async function phase<T>(name: string, work: () => T | Promise<T>): Promise<T> {
  const around = enclosing.getStore();
  const index = around?.trace.openPhase(name, around.index);
  if (around === undefined || index === undefined) return await work();
  let hasFailed = true;
  try {
    const result = await enclosing.run({ trace: around.trace, index }, work);
    hasFailed = false;
    return result;
  } finally {
    around.trace.closePhase(index, hasFailed);
  }
}
