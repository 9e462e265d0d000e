/** Prometheus metrics over HTTP, without authentication: for a loopback address. */
import { createServer } from 'node:http';
import { EngineError, messageOf } from '../lib/errors.ts';
import type { RequestMetrics } from '../telemetry/request-metrics.ts';

/** Serves `/metrics` on `host:port`. @throws EngineError invalid-argument for an address that cannot be listened on */
export async function serveMetrics(address: string, metrics: RequestMetrics): Promise<AsyncDisposable> {
  const [, host, port] = /^(.*):(\d+)$/.exec(address) ?? [];
  if (host === undefined || port === undefined)
    throw new EngineError('invalid-argument', `metrics.address: ${address} is not host:port`);
  const server = createServer((request, response) => {
    if (request.url !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    metrics.expose().then(
      (text) => response.setHeader('Content-Type', 'text/plain; version=0.0.4').end(text),
      (error: unknown) => response.writeHead(500).end(messageOf(error)),
    );
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // Stays attached: a connection that cannot be accepted later, for want of descriptors, must not end the process.
  server.on('error', (error) =>
    reject(
      new EngineError('invalid-argument', `metrics.address ${address}: ${messageOf(error)}`, {
        cause: error,
      }),
    ),
  );
  server.listen(Number(port), host.replace(/^\[|\]$/g, ''), resolve);
  await promise;
  return {
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}
