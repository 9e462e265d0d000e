/**
 * What a checkpoint archive holds, in the form that Podman, CRI-O, containerd and `checkpointctl` share: a tar with CRIU's images below
 * `checkpoint/`, what the container has written as `rootfs-diff.tar`, and descriptions of the container as JSON.
 * https://github.com/checkpoint-restore/checkpointctl/blob/v1.5.0/lib/metadata.go
 */

export const archiveFiles = {
  /** Which container of which image it was. */
  config: 'config.dump',
  /** The runtime's configuration. */
  spec: 'spec.dump',
  /** ContainerStatus of the CRI. */
  criStatus: 'status.dump',
  /** Times and pid, as containerd keeps them. */
  status: 'status',
  /** Absolute paths of what the container has deleted of its image, a list. */
  deletedFiles: 'deleted.files',
  rootChanges: 'rootfs-diff.tar',
  images: 'checkpoint',
  dumpLog: 'dump.log',
  statistics: 'stats-dump',
} as const;
