/** The CRI's gRPC server on a unix socket. */
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { TraceServiceService } from '../gen/gantry/v1/traces.ts';
import { EngineError, messageOf } from '../lib/errors.ts';
import { isSocketServed } from '../lib/served-socket.ts';
import type { ImageHandlers, RuntimeHandlers } from './handlers.ts';
import {
  serverStreaming,
  unary,
  type InterceptorDeps,
  type StreamingHandler,
  type UnaryHandler,
} from './interceptor.ts';
import { maxMessageBytes } from './pages.ts';
import { traceHandlers, type TraceHandlers } from './traces.ts';
import { imageService, runtimeService } from './services.ts';

const shutdownGraceMs = 5_000;

export interface CriServerOptions extends InterceptorDeps {
  readonly socket: string;
  readonly runtime: RuntimeHandlers;
  readonly images: ImageHandlers;
}

/**
 * Serves both services of the CRI, and the engine's own. Disposing lets running requests end for a few seconds, then cuts them off.
 *
 * @throws EngineError failed-precondition if another daemon answers on the socket
 */
export async function serveCri(options: CriServerOptions): Promise<AsyncDisposable> {
  await takeSocket(options.socket);
  const server = new Server({
    // Statistics of grpc-js that nobody here can ask for: we have our own.
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
  });
  server.addService(runtimeService, implementation(options, runtimeService, options.runtime));
  server.addService(imageService, implementation(options, imageService, options.images));
  server.addService(
    TraceServiceService,
    implementation(options, TraceServiceService, traceHandlers(options.traces)),
  );
  await bind(server, options.socket);
  // Who may open the socket is root on this node.
  chmodSync(options.socket, 0o660);
  return {
    async [Symbol.asyncDispose]() {
      await shutDown(server);
      rmSync(options.socket, { force: true });
    },
  };
}

function implementation<Handlers extends RuntimeHandlers | ImageHandlers | TraceHandlers>(
  deps: InterceptorDeps,
  service: ServiceDefinition,
  handlers: Handlers,
): UntypedServiceImplementation {
  const entries = Object.entries(service).map(([name, { path, responseStream }]) => {
    const method = path.slice(path.lastIndexOf('/') + 1);
    const handler: unknown = handlers[name as keyof Handlers];
    const adapted = responseStream
      ? serverStreaming(deps, method, handler as StreamingHandler<unknown, unknown>)
      : unary(deps, method, handler as UnaryHandler<unknown, unknown>);
    return [name, adapted] as const;
  });
  return Object.fromEntries(entries);
}

/** A socket file that a dead daemon left is removed; one that a living daemon answers on is not ours to take. */
async function takeSocket(path: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o711 });
  if (await isSocketServed(path))
    throw new EngineError('failed-precondition', `another daemon already serves ${path}`);
  rmSync(path, { force: true });
}

async function bind(server: Server, path: string): Promise<void> {
  const bound = Promise.withResolvers<void>();
  server.bindAsync(`unix://${path}`, ServerCredentials.createInsecure(), (error) => {
    if (error === null) bound.resolve();
    else
      bound.reject(new EngineError('internal', `listen on ${path}: ${messageOf(error)}`, { cause: error }));
  });
  await bound.promise;
}

async function shutDown(server: Server): Promise<void> {
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(() => {
    server.forceShutdown();
    resolve();
  }, shutdownGraceMs);
  server.tryShutdown(() => resolve());
  await ended.finally(() => clearTimeout(timer));
}
