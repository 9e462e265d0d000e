/** A runtime as one handler uses it. */
export interface OciRuntime {
  /** The handler's name. */
  readonly name: string;
  /** Absolute path of the program. */
  readonly path: string;
  /** The same on a read-only mount (see read-only-program.ts). */
  readonly readOnlyPath?: string | undefined;
  readonly kind: 'crun' | 'runc' | 'other';
  /** As `--version` says it: `1.8.1`. */
  readonly version: string;
  /** Directory of the runtime's own state, one for each handler: `/run/gantry/runtime/<handler>`. */
  readonly root: string;
  /** systemd makes the cgroups; then `cgroupsPath` has the form `slice:prefix:name`. */
  readonly systemdCgroup: boolean;
}
