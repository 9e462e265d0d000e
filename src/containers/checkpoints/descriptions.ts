/** The JSON files of a checkpoint archive that say which container it was. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Sandbox } from '../../sandbox/sandbox.ts';
import type { Container } from '../container.ts';
import { archiveFiles } from './archive-files.ts';

export interface Described {
  readonly container: Container;
  readonly sandbox: Sandbox;
  /** A name of the image that can be pulled, where it has one. */
  readonly imageName: string;
  readonly checkpointedAtMs: number;
  /** The runtime's configuration of the container. */
  readonly specFile: string;
}

const running = 1;

/** Writes `config.dump`, `spec.dump`, `status.dump` and `status` into `directory`. */
export function writeDescriptions(described: Described, directory: string): void {
  const files = {
    [archiveFiles.config]: configDump(described),
    [archiveFiles.spec]: specDump(described),
    [archiveFiles.criStatus]: criStatus(described),
    [archiveFiles.status]: status(described),
  };
  for (const [name, value] of Object.entries(files))
    writeFileSync(join(directory, name), JSON.stringify(value), { mode: 0o600 });
}

function configDump({ container, imageName, checkpointedAtMs }: Described) {
  const { id, config, imageId, runtimeHandler, createdAtNs } = container;
  return {
    id,
    name: config.metadata.name,
    rootfsImage: imageName,
    rootfsImageRef: imageId,
    rootfsImageName: imageName,
    runtime: runtimeHandler,
    createdTime: timeOf(createdAtNs),
    checkpointedTime: new Date(checkpointedAtMs).toISOString(),
    restoredTime: '0001-01-01T00:00:00Z',
    restored: false,
  };
}

/** With the annotations by which checkpointctl finds the container's names. */
function specDump({ container, sandbox, specFile, imageName }: Described) {
  const spec = JSON.parse(readFileSync(specFile, 'utf8')) as {
    readonly annotations?: Readonly<Record<string, string>>;
  };
  const annotations = {
    ...spec.annotations,
    'io.container.manager': 'gantry',
    'io.kubernetes.cri.container-type': 'container',
    'io.kubernetes.cri.container-name': container.config.metadata.name,
    'io.kubernetes.cri.image-name': imageName,
    'io.kubernetes.cri.sandbox-id': sandbox.id,
    'io.kubernetes.cri.sandbox-name': sandbox.config.metadata.name,
    'io.kubernetes.cri.sandbox-namespace': sandbox.config.metadata.namespace,
    'io.kubernetes.cri.sandbox-uid': sandbox.config.metadata.uid,
  };
  return { ...spec, annotations };
}

function criStatus({ container, imageName }: Described) {
  const { id, config, state, createdAtNs, imageId, logPath } = container;
  return {
    id,
    metadata: config.metadata,
    state: running,
    created_at: Number(createdAtNs),
    started_at: startedAt(state),
    image: { image: imageName, user_specified_image: config.image.userSpecified ?? '' },
    image_ref: imageId,
    labels: config.labels,
    annotations: config.annotations,
    log_path: logPath ?? '',
  };
}

function status({ container: { state, createdAtNs } }: Described) {
  return {
    CreatedAt: Number(createdAtNs),
    StartedAt: startedAt(state),
    FinishedAt: 0,
    ExitCode: 0,
    Pid: state.name === 'running' ? state.processes.process.pid : 0,
    Reason: '',
    Message: '',
  };
}

function startedAt(state: Container['state']): number {
  return state.name === 'running' ? Number(state.startedAtNs) : 0;
}

function timeOf(nanoseconds: string): string {
  return new Date(Number(BigInt(nanoseconds) / 1_000_000n)).toISOString();
}
