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
import { createEngine, type Engine } from './daemon/engine.ts';
import { startFaces } from './daemon/faces.ts';
import { startImages } from './daemon/images.ts';
import { startNetworks } from './daemon/networking.ts';
import { recoverEngine } from './daemon/recovery.ts';
import { findRuntimes, type RuntimeSet } from './daemon/runtimes.ts';
import { messageOf } from './lib/errors.ts';
import { RecordDatabase } from './lib/records.ts';
import { NamespaceThread } from './linux/namespace-thread.ts';
import { PathWorkers } from './linux/path-worker.ts';
import { Poller } from './linux/poll.ts';
import { existsSync } from 'node:fs';
import { openSandboxStore, type SandboxStore } from './sandbox/sandbox.ts';
import { createLog, type Log } from './telemetry/log.ts';
import { createRequestMetrics } from './telemetry/request-metrics.ts';

export interface Daemon extends AsyncDisposable {
  readonly log: Log;
}

/** Starts everything; the sockets answer when this returns. @throws EngineError when this host or this configuration cannot be served */
export async function startDaemon(config: Config, version: string): Promise<Daemon> {
  const startedAt = performance.now();
  process.umask(0o022);
  const log = createLog(config.log.level);
  await using stack = new AsyncDisposableStack();
  const directories = makeDirectories(config);
  const stores = openStores(directories, stack, log);
  const poller = stack.use(new Poller());
  const paths = stack.use(new PathWorkers());
  const thread = stack.use(await NamespaceThread.start());
  const host = detectHostCgroups();
  const driver = cgroupDriver(config, host);
  const runtimes = await findRuntimes(
    config.runtime,
    { rootDirectory: directories.runtimes, systemdCgroup: driver === 'systemd' },
    { poller, log },
  );
  const facts = readHostFacts(runtimeFacts(runtimes), host);
  if (facts.apparmorEnabled)
    await loadDefaultApparmorProfile().catch((error: unknown) =>
      log.warn({ error: messageOf(error) }, 'containers have no AppArmor profile by default'),
    );
  const cgroups = createEngineCgroups(host, driver);
  const networks = await startNetworks(config.cni, thread, stack, log);
  const images = await startImages(
    config.images,
    { directories, database: stores.database, paths, log },
    stack,
  );
  const engine: Engine = createEngine(
    {
      config,
      log,
      directories,
      stores,
      poller,
      thread,
      paths,
      host,
      cgroups,
      runtimes,
      facts,
      networks,
      images,
    },
    stack,
  );
  await recoverEngine(engine, log);
  const metrics = createRequestMetrics();
  await startFaces({ config, version, log, metrics, engine, driver }, stack);
  log.info(
    {
      version,
      socket: config.cri.socket,
      cgroups: host.layout,
      driver,
      startMs: Math.round(performance.now() - startedAt),
    },
    'ready',
  );
  const running = stack.move();
  return { log, [Symbol.asyncDispose]: async () => await running.disposeAsync() };
}

interface Stores {
  readonly database: RecordDatabase;
  readonly sandboxes: SandboxStore;
  readonly containers: ContainerStore;
}

/** A corrupt database is set aside and said so; a record of another version is refused by name. */
function openStores(directories: Directories, stack: AsyncDisposableStack, log: Log): Stores {
  const database = stack.use(RecordDatabase.open(directories.database));
  if (database.setAside !== undefined)
    log.error(
      { file: database.setAside },
      'the state database was corrupt and has been set aside; a new one was begun',
    );
  const onListenerError = (error: unknown): void =>
    log.error({ error: messageOf(error) }, 'a listener failed');
  const stores = {
    database,
    sandboxes: openSandboxStore(database, onListenerError),
    containers: openContainerStore(database, onListenerError),
  };
  for (const { collection, id, reason } of database.rejected)
    log.error({ collection, id, reason }, 'a record is not readable and is left alone');
  return stores;
}

function cgroupDriver(config: Config, host: HostCgroups): CgroupDriver {
  const wanted = config.runtime.cgroup_driver;
  return wanted === 'auto' ? defaultDriver(host, existsSync('/run/systemd/system')) : wanted;
}

function runtimeFacts({ defaultHandler, features }: RuntimeSet) {
  return {
    runtimeName: defaultHandler,
    recursiveReadOnlyMounts: features.recursiveReadOnlyMounts,
    idmappedMounts: features.idmappedMounts,
  };
}
