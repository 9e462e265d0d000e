/** Waiting for what another process brings about. */
import { setTimeout as sleep } from 'node:timers/promises';

const limitMs = 60_000;

/** Asks again and again until the answer is not undefined. @throws Error naming `what` after a minute */
export async function eventually<T>(
  what: string,
  look: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  const deadline = Date.now() + limitMs;
  while (Date.now() < deadline) {
    const found = await look();
    if (found !== undefined) return found;
    await sleep(50);
  }
  throw new Error(`waited in vain for ${what}`);
}

/** Waits until HTTP is served at this address; gives the body of the first answer. */
export async function untilServed(url: string): Promise<string> {
  return await eventually(`an answer from ${url}`, async () => {
    const answer = await fetch(url).catch(() => undefined);
    return await answer?.text();
  });
}
