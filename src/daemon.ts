/**
 * The composition root: builds everything in dependency order on one stack, so that shutting down is the reverse.
 * Containers, their monitors and the pods' namespaces are not on it: they outlive the daemon.
 */
import { readHostFacts } from './containers/spec/read-host-facts.ts';
import { loadDefaultApparmorProfile } from './containers/spec/apparmor-profile.ts';
import { openContainerStore, type ContainerStore } from './containers/container.ts';
import { detectHostCgroups, defaultDriver, type CgroupDriver, type HostCgroups } from './cgroups/host.ts';
import type { Config } from './config-schema.ts';
import { createEngineCgroups } from './daemon/cgroups.ts';
import { makeDirectories, type Directories } from './daemon/directories.ts';
import { createEngine, type Engine, type EngineParts } from './daemon/engine.ts';
import { startFaces } from './daemon/faces.ts';
import { startImages } from './daemon/images.ts';
import { lockDirectory } from './daemon/lock.ts';
import { startMetrics } from './daemon/metrics.ts';
import { startNetworks } from './daemon/networking.ts';
import { recoverEngine } from './daemon/recovery.ts';
import { findRuntimes, handlerFacts } from './daemon/runtimes.ts';
import { returnUnusedMemory } from './daemon/unused-memory.ts';
import { unmapStartPages } from './daemon/start-pages.ts';
import { startWarnings } from './daemon/start-warnings.ts';
import { startTraces } from './daemon/traces.ts';
import { UserNamespaceTrials } from './daemon/user-namespaces.ts';
import { messageOf } from './lib/errors.ts';
import { RecordDatabase } from './lib/records.ts';
import { NamespaceThread } from './linux/namespace-thread.ts';
import { PathWorkers } from './linux/path-worker.ts';
import { Poller } from './linux/poll.ts';
import { existsSync } from 'node:fs';
import { openSandboxStore, type SandboxStore } from './sandbox/sandbox.ts';
import { createLog, type Log } from './telemetry/log.ts';

/** Several hundred changes of records. */
const reserveBytes = 8 * 1024 * 1024;

export interface Daemon extends AsyncDisposable {
  readonly log: Log;
}

/** Starts everything; the sockets answer when this returns. @throws EngineError when this host or this configuration cannot be served */
export async function startDaemon(config: Config, version: string): Promise<Daemon> {
  const startedAt = performance.now();
  process.umask(0o022);
  const log = createLog(config.log.level);
  await using stack = new AsyncDisposableStack();
  const parts = await startParts(config, log, stack);
  const engine = createEngine(parts, stack);
  await recoverEngine(engine, log);
  await startPlugins(engine, version, stack);
  const metrics = await startMetrics(config);
  const traces = await startTraces({ keptRequests: config.traces.kept_requests, version, log }, stack);
  await startFaces({ config, version, log, metrics, traces, engine }, stack);
  const startMs = Math.round(performance.now() - startedAt);
  log.info(
    { version, socket: config.cri.socket, cgroups: parts.host.layout, driver: parts.driver, startMs },
    'ready',
  );
  // The kubelet asks at once; for others the log says what there is not.
  void handlerFacts(parts.runtimes, parts.trials);
  for (const warning of startWarnings(config, parts.runtimes.handlers.values())) log.warn(warning);
  unmapStartPages(log, stack);
  returnUnusedMemory(stack);
  const running = stack.move();
  return { log, [Symbol.asyncDispose]: async () => await running.disposeAsync() };
}

/** Before clients: what is installed on the node takes part in all that they ask for. */
async function startPlugins(
  { parts, plugins }: Engine,
  version: string,
  stack: AsyncDisposableStack,
): Promise<void> {
  const { nri } = parts.config;
  await plugins.start(
    {
      runtime: { name: 'gantry', version },
      socket: nri.socket,
      pluginDirectory: nri.plugin_dir,
      pluginConfigDirectory: nri.plugin_config_dir,
      registrationTimeoutMs: Math.ceil(nri.plugin_registration_timeout_seconds * 1000),
      requestTimeoutMs: Math.ceil(nri.plugin_request_timeout_seconds * 1000),
      poller: parts.poller,
    },
    stack,
  );
}

/** Drivers and stores, each on `stack` after those that it needs. */
async function startParts(config: Config, log: Log, stack: AsyncDisposableStack): Promise<EngineParts> {
  const directories = makeDirectories(config);
  for (const directory of [directories.root, directories.state]) stack.use(lockDirectory(directory));
  const stores = openStores(directories, stack, log);
  const poller = stack.use(new Poller());
  const paths = stack.use(new PathWorkers());
  const host = detectHostCgroups();
  const driver = cgroupDriver(config, host);
  const runtimeHost = { rootDirectory: directories.runtimes, systemdCgroup: driver === 'systemd' };
  const finding = findRuntimes(config.runtime, runtimeHost, { poller, log });
  const thread = stack.use(await NamespaceThread.start());
  const runtimes = await finding;
  const trials = stack.use(new UserNamespaceTrials({ directories, poller, paths, log }));
  const facts = readHostFacts(
    { runtimeName: runtimes.handlers.get(runtimes.defaultHandler)?.kind ?? 'other' },
    host,
  );
  if (facts.apparmorEnabled) await loadProfile(log);
  const cgroups = createEngineCgroups(host, driver);
  const networks = await startNetworks(config.cni, { thread, poller }, stack, log);
  const images = await startImages(
    config.images,
    { directories, database: stores.database, paths, poller, log },
    stack,
  );
  // Each part has read its records by now.
  for (const { collection, id, reason } of stores.database.rejected)
    log.error({ collection, id, reason }, 'a record is not readable and is left alone');
  return {
    config,
    log,
    directories,
    stores,
    poller,
    thread,
    paths,
    host,
    driver,
    cgroups,
    runtimes,
    trials,
    facts,
    networks,
    images,
  };
}

async function loadProfile(log: Log): Promise<void> {
  try {
    await loadDefaultApparmorProfile();
  } catch (error) {
    log.warn({ error: messageOf(error) }, 'containers have no AppArmor profile by default');
  }
}

interface Stores {
  readonly database: RecordDatabase;
  readonly sandboxes: SandboxStore;
  readonly containers: ContainerStore;
}

/** A corrupt database is set aside and said so. */
function openStores(directories: Directories, stack: AsyncDisposableStack, log: Log): Stores {
  const database = stack.use(
    RecordDatabase.open(directories.database, { copies: directories.records, reserveBytes }),
  );
  if (database.setAside !== undefined)
    log.error(
      { file: database.setAside },
      'the state database was corrupt and has been set aside; a new one was begun from the copies of its records',
    );
  const onListenerError = (error: unknown): void =>
    log.error({ error: messageOf(error) }, 'a listener failed');
  const stores = {
    database,
    sandboxes: openSandboxStore(database, onListenerError),
    containers: openContainerStore(database, onListenerError),
  };
  return stores;
}

function cgroupDriver(config: Config, host: HostCgroups): CgroupDriver {
  const wanted = config.runtime.cgroup_driver;
  return wanted === 'auto' ? defaultDriver(host, existsSync('/run/systemd/system')) : wanted;
}
