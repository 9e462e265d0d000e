/** A Node process's memory, asked of itself through its inspector, which SIGUSR1 opens on 127.0.0.1:9229. */
import { eventually } from './wait.ts';

export interface MemoryUse {
  /** Reachable objects of the main thread, after a full collection. */
  readonly heapBytes: number;
  /** Native memory that they hold: buffers and the like. */
  readonly externalBytes: number;
  readonly residentBytes: number;
}

interface Answer {
  readonly id: number;
  readonly result: { readonly result?: { readonly value?: string } };
}

/** Collects all garbage first. The inspector stays open. */
export async function memoryOf(pid: number): Promise<MemoryUse> {
  process.kill(pid, 'SIGUSR1');
  const url = await eventually('the inspector', async () => {
    const list = await fetch('http://127.0.0.1:9229/json/list').catch(() => undefined);
    const targets = (await list?.json()) as { webSocketDebuggerUrl: string }[] | undefined;
    return targets?.[0]?.webSocketDebuggerUrl;
  });
  const socket = new WebSocket(url);
  const waiting = new Map<number, (answer: Answer) => void>();
  socket.addEventListener('message', ({ data }) => {
    const answer = JSON.parse(String(data)) as Answer;
    waiting.get(answer.id)?.(answer);
  });
  const opened = Promise.withResolvers<void>();
  socket.addEventListener('open', () => opened.resolve());
  socket.addEventListener('error', () => opened.reject(new Error(`no inspector at ${url}`)));
  await opened.promise;
  let calls = 0;
  const call = async (method: string, params: object = {}): Promise<Answer> => {
    calls += 1;
    const { promise, resolve } = Promise.withResolvers<Answer>();
    waiting.set(calls, resolve);
    socket.send(JSON.stringify({ id: calls, method, params }));
    return await promise;
  };
  try {
    for (let round = 0; round < 3; round += 1) await call('HeapProfiler.collectGarbage');
    const { result } = await call('Runtime.evaluate', {
      expression: 'JSON.stringify(process.memoryUsage())',
    });
    const usage = JSON.parse(result.result?.value ?? '{}') as Record<string, number>;
    const { heapUsed = 0, external = 0, rss = 0 } = usage;
    return { heapBytes: heapUsed, externalBytes: external, residentBytes: rss };
  } finally {
    socket.close();
  }
}
