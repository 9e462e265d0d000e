/** posix_spawn with an exact descriptor list, clean signals and a session of its own. */
import { existsSync } from 'node:fs';
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { SyscallError } from './errors.ts';
import { bindUnchecked, type NativeArgument } from './libc.ts';

type StringArray = readonly (string | null)[];

const posixSpawn = bindUnchecked<
  [pid: Uint8Array, path: string, actions: Uint8Array, attributes: Uint8Array, argv: never, envp: never]
>(
  'int posix_spawn(void *pid, const char *path, void *actions, void *attr, const char **argv, const char **envp)',
);
const actionsInit = bindAction<[]>('int posix_spawn_file_actions_init(void *actions)');
const actionsDestroy = bindAction<[]>('int posix_spawn_file_actions_destroy(void *actions)');
const addDup2 = bindAction<[from: number, to: number]>(
  'int posix_spawn_file_actions_adddup2(void *actions, int from, int to)',
);
const addOpen = bindAction<[fd: number, path: string, flags: number, mode: number]>(
  'int posix_spawn_file_actions_addopen(void *actions, int fd, const char *path, int flags, mode_t mode)',
);
const addClose = bindAction<[fd: number]>('int posix_spawn_file_actions_addclose(void *actions, int fd)');
const addCloseFrom = bindAction<[fd: number]>(
  'int posix_spawn_file_actions_addclosefrom_np(void *actions, int from)',
);
const addChdir = bindAction<[path: string]>(
  'int posix_spawn_file_actions_addchdir_np(void *actions, const char *path)',
);
const attributesInit = bindAction<[]>('int posix_spawnattr_init(void *attr)');
const setFlags = bindAction<[flags: number]>('int posix_spawnattr_setflags(void *attr, short flags)');
const setDefaultSignals = bindAction<[set: Uint8Array]>(
  'int posix_spawnattr_setsigdefault(void *attr, const void *set)',
);
const setSignalMask = bindAction<[set: Uint8Array]>(
  'int posix_spawnattr_setsigmask(void *attr, const void *set)',
);

// spawn.h of glibc; the structures are 80 and 336 bytes there, with room to spare.
const structureBytes = 1024;
const signalSetBytes = 128;
const SETSIGDEF = 0x04;
const SETSIGMASK = 0x08;
const SETSID = 0x80;
const O_RDWR = 2;

interface SpawnRequest {
  /** An absolute path: nothing is looked up. */
  readonly program: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Descriptor in the child -> ours. 0, 1 and 2 are /dev/null unless named; the child has no others. */
  readonly fds: ReadonlyMap<number, number>;
  readonly cwd?: string | undefined;
}

/** Starts a program in a session of its own and returns its pid, which the caller must wait for. Throws SyscallError, EngineError for a zero byte. */
export function spawnInNewSession(request: SpawnRequest): number {
  const { program, argv, env, cwd } = request;
  const actions = Buffer.alloc(structureBytes);
  actionsInit(actions);
  try {
    if (cwd !== undefined) addChdir(actions, cwd);
    arrangeDescriptors(actions, request.fds);
    const pid = Buffer.alloc(4);
    const environment = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    const error = posixSpawn(
      pid,
      program,
      actions,
      attributes(),
      nullTerminated(argv) as never,
      nullTerminated(environment) as never,
    );
    if (error !== 0) {
      // One errno for two causes: say which it was.
      const path = cwd === undefined || existsSync(cwd) ? program : cwd;
      throw new SyscallError('posix_spawn', error, { path });
    }
    return pid.readInt32LE(0);
  } finally {
    actionsDestroy(actions);
  }
}

/**
 * The child performs these in order. Each descriptor goes first to a number above all that are involved, then down to its place: a direct
 * dup2 could overwrite one that is still to be moved.
 */
function arrangeDescriptors(actions: Buffer, fds: ReadonlyMap<number, number>): void {
  const places = [...fds.keys()];
  const above = Math.max(2, ...places, ...fds.values()) + 1;
  for (const [index, place] of places.entries()) addDup2(actions, fds.get(place) ?? -1, above + index);
  for (const [index, place] of places.entries()) addDup2(actions, above + index, place);
  const last = Math.max(2, ...places);
  for (let fd = 0; fd <= last; fd += 1) {
    if (fds.has(fd)) continue;
    if (fd <= 2) addOpen(actions, fd, '/dev/null', O_RDWR, 0);
    else addClose(actions, fd);
  }
  addCloseFrom(actions, last + 1);
}

let sharedAttributes: Buffer | undefined;

/** Node ignores SIGPIPE and others, which a child would inherit; they never vary, so one structure serves every start. */
function attributes(): Buffer {
  if (sharedAttributes === undefined) {
    const made = Buffer.alloc(structureBytes);
    attributesInit(made);
    setDefaultSignals(made, Buffer.alloc(signalSetBytes, 0xff));
    setSignalMask(made, Buffer.alloc(signalSetBytes));
    setFlags(made, SETSIGDEF | SETSIGMASK | SETSID);
    sharedAttributes = made;
  }
  return sharedAttributes;
}

function nullTerminated(strings: readonly string[]): StringArray {
  for (const text of strings) {
    if (text.includes('\0')) throw new EngineError('invalid-argument', `${quote(text)} contains a zero byte`);
  }
  return [...strings, null];
}

/** These return the errno instead of setting it. */
function bindAction<A extends readonly NativeArgument[]>(
  signature: string,
): (structure: Uint8Array, ...args: A) => void {
  const call = bindUnchecked<[structure: Uint8Array, ...args: A]>(signature);
  return (structure, ...args) => {
    const error = call(structure, ...args);
    if (error !== 0) throw new SyscallError(/(posix_\w+)/.exec(signature)?.[1] ?? signature, error);
  };
}
