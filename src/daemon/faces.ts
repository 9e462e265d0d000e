/** What clients connect to: the CRI's socket, the streaming server, the metrics. */
import type { Config } from '../config-schema.ts';
import { containerHandlers } from '../cri/containers.ts';
import { eventHandlers } from '../cri/events.ts';
import { imageHandlers } from '../cri/images.ts';
import { metricsHandlers } from '../cri/metrics.ts';
import { runtimeHandlers } from '../cri/runtime.ts';
import { sandboxHandlers } from '../cri/sandboxes.ts';
import { serveCri } from '../cri/server.ts';
import { statsHandlers } from '../cri/stats.ts';
import { streamHandlers } from '../cri/streams.ts';
import { Semaphore } from '../lib/semaphore.ts';
import { connectInNetns } from '../linux/connect-in-netns.ts';
import { serveStreams } from '../streaming/server.ts';
import type { Log } from '../telemetry/log.ts';
import type { RequestMetrics } from '../telemetry/request-metrics.ts';
import type { RequestTraces } from '../telemetry/traces/request-traces.ts';
import type { Engine } from './engine.ts';
import { serveMetrics } from './metrics-server.ts';
import { handlerFacts } from './runtimes.ts';

export interface FacesOptions {
  readonly config: Config;
  readonly version: string;
  readonly log: Log;
  readonly metrics: RequestMetrics | undefined;
  readonly traces: RequestTraces;
  readonly engine: Engine;
}

const connectTimeoutMs = 10_000;

/** Opens them and puts them on `stack`: the first to close when the daemon stops. */
export async function startFaces(options: FacesOptions, stack: AsyncDisposableStack): Promise<void> {
  const { config, log, metrics, traces, engine } = options;
  const { parts } = engine;
  const streaming = stack.use(
    await serveStreams(
      {
        address: config.streaming.address,
        port: config.streaming.port,
        tokenTtlMs: config.streaming.token_ttl_seconds * 1000,
        idleTimeoutMs: config.streaming.idle_timeout_seconds * 1000,
      },
      log,
    ),
  );
  const connectInPod = async (netnsPath: string | undefined, port: number) =>
    await connectInNetns({
      thread: parts.thread,
      poller: parts.poller,
      netnsPath: netnsPath ?? '/proc/self/ns/net',
      port,
      timeoutMs: connectTimeoutMs,
    });
  const server = await serveCri({
    socket: config.cri.socket,
    log,
    metrics,
    traces,
    stores: parts.stores,
    queue: new Semaphore(config.cri.max_requests),
    runtime: {
      ...runtimeHandlers({ facts: engineFacts(options), networks: parts.networks }),
      ...sandboxHandlers({ sandboxes: engine.sandboxes, containers: parts.stores.containers }),
      ...containerHandlers(engine.containers),
      ...streamHandlers({
        containers: engine.containers,
        exec: engine.exec,
        sandboxes: parts.stores.sandboxes,
        streaming,
        connectInPod,
      }),
      ...eventHandlers({ sandboxes: parts.stores.sandboxes, containers: parts.stores.containers }),
      ...statsHandlers(engine.usage),
      ...metricsHandlers(engine.usage),
    },
    images: imageHandlers({
      images: parts.images.images,
      containerFs: async () => await parts.images.containerFs(),
    }),
  });
  stack.use(server);
  if (metrics !== undefined) stack.use(await serveMetrics(config.metrics.address, metrics));
}

function engineFacts({ config, version, engine }: FacesOptions) {
  const { runtimes, trials, driver, directories } = engine.parts;
  return {
    version,
    cgroupDriver: driver,
    defaultHandler: runtimes.defaultHandler,
    handlers: async () => await handlerFacts(runtimes, trials),
    rootFileSystems: directories.snapshots,
    config,
    ...(runtimes.brokenReason === undefined ? {} : { brokenReason: runtimes.brokenReason }),
  };
}
