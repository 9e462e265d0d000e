/** Later than this, it was not the timer that was inaccurate: the event loop stood still. */
const heldUpMs = 100;
const noticeMs = 1000;

/**
 * Calls `onOver` after `ms` milliseconds, unless it was disposed of. Timers that are over run before the event loop tells
 * what else has happened: where the loop itself stood still until then, one second more is given for that to be noticed,
 * so that nobody is judged late who was not.
 */
export function startPatientTimer(ms: number, onOver: () => void): Disposable {
  const dueAt = performance.now() + ms;
  let timer = setTimeout(() => {
    if (performance.now() - dueAt < heldUpMs) onOver();
    else timer = setTimeout(onOver, noticeMs);
  }, ms);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}
