/** One run of a virtual machine under QEMU, from power on to power off, with its ports joined to our own stdio. */
import { spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** What to boot. Paths are the host's. */
export interface Machine {
  /** Folder of vm-kernel.sh. */
  readonly kernel: string;
  readonly disk: string;
  /** Folder for the ports' sockets: short, private, and gone afterwards. */
  readonly work: string;
  readonly console: string;
  readonly memoryMib: number;
  /** Gives it our standard input, which is gone then for every other machine. */
  readonly takesInput: boolean;
  /** Joins our terminal to /dev/hvc0. */
  readonly terminal: boolean;
  accelerator: 'kvm' | 'tcg';
  /** Words of the kernel's command line. */
  readonly arguments: readonly string[];
}

/** How a run ended; `booted` is true once the machine's init has the host's root. */
export type Outcome = { readonly booted: boolean } & (
  | { readonly kind: 'exited'; readonly exitCode: number }
  | { readonly kind: 'timed-out' | 'stopped' }
  | { readonly kind: 'died'; readonly detail: string }
);

interface Limits {
  readonly timeoutMs: number;
  readonly bootTimeoutMs: number;
  readonly signal: AbortSignal;
}

type PortName = 'status' | 'stdout' | 'stderr' | 'stdin' | 'terminal';

/** QEMU connects to each port's socket when it starts; the machine sees the port by its name. */
async function openPort(
  machine: Machine,
  name: PortName,
  onConnect: (socket: Socket) => void,
): Promise<Server> {
  const path = join(machine.work, name);
  rmSync(path, { force: true });
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    onConnect(socket);
  });
  await new Promise<void>((listening) => server.listen(path, listening));
  return server;
}

type Flag = readonly [name: string, value?: string];

function portFlags(machine: Machine): Flag[] {
  const chardev = (name: PortName): Flag => [
    '-chardev',
    `socket,id=${name},path=${join(machine.work, name)}`,
  ];
  const names = ['status', 'stdout', 'stderr', 'stdin'] as const;
  const flags: Flag[] = [['-device', 'virtio-serial-pci,max_ports=8']];
  if (machine.terminal) flags.push(chardev('terminal'), ['-device', 'virtconsole,chardev=terminal']);
  for (const name of names) {
    flags.push(chardev(name), ['-device', `virtserialport,chardev=${name},name=gantry.${name}`]);
  }
  return flags;
}

function qemuArguments(machine: Machine): string[] {
  const kvm = machine.accelerator === 'kvm';
  const kernelArguments = [
    'console=ttyS0',
    'panic=-1',
    'oops=panic',
    'quiet',
    'loglevel=4',
    ...machine.arguments,
  ];
  const flags: Flag[] = [
    ['-no-user-config'],
    ['-nodefaults'],
    ['-no-reboot'],
    ['-display', 'none'],
    ['-machine', 'q35'],
    ['-accel', kvm ? 'kvm' : 'tcg,thread=multi'],
    ['-cpu', kvm ? 'host' : 'max,-pku'],
    ['-smp', '2'],
    ['-m', String(machine.memoryMib)],
    ['-kernel', join(machine.kernel, 'vmlinuz')],
    ['-initrd', join(machine.kernel, 'initrd')],
    ['-append', kernelArguments.join(' ')],
    ['-serial', `file:${machine.console}`],
    ['-drive', `if=none,id=data,file=${machine.disk},format=raw,cache=writeback,discard=unmap`],
    ['-device', 'virtio-blk-pci,drive=data'],
    // One path crosses the host's mounts; inode numbers are told apart by remapping them.
    ['-fsdev', 'local,id=host,path=/,security_model=none,readonly=on,multidevs=remap'],
    ['-device', 'virtio-9p-pci,fsdev=host,mount_tag=host'],
    ['-device', 'virtio-rng-pci'],
    ...portFlags(machine),
  ];
  return flags.flat().filter((word) => word !== undefined);
}

function lastLines(path: string, count: number): string {
  try {
    return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-count).join('\n');
  } catch {
    return '(the console said nothing)';
  }
}

/** Raw, so that the machine's terminal handles every key, but for Ctrl-]: the way out. */
function joinTerminal(socket: Socket, stop: () => void): void {
  process.stdin.setRawMode?.(true);
  socket.pipe(process.stdout, { end: false });
  process.stdin.on('data', (keys: Buffer) => {
    if (keys.includes(0x1d)) stop();
    else socket.write(keys);
  });
}

/** Boots, waits until the machine is off or must be switched off, and says how it went. */
export async function bootMachine(machine: Machine, limits: Limits): Promise<Outcome> {
  await using closing = new AsyncDisposableStack();
  const off = Promise.withResolvers<void>();
  let booted = false;
  let exitCode: number | undefined;
  let switchedOff: 'timed-out' | 'stopped' | undefined;

  const ports: Record<PortName, (socket: Socket) => void> = {
    status: (socket) => {
      createInterface({ input: socket }).on('line', (line) => {
        booted ||= line === 'up';
        const match = /^exit (\d+)$/.exec(line);
        if (match) exitCode = Number(match[1]);
      });
    },
    stdout: (socket) => socket.pipe(process.stdout, { end: false }),
    stderr: (socket) => socket.pipe(process.stderr, { end: false }),
    stdin: (socket) => {
      if (machine.takesInput && !process.stdin.isTTY) process.stdin.pipe(socket);
      else socket.end();
    },
    terminal: (socket) => joinTerminal(socket, () => switchOff('stopped')),
  };
  const drained: Promise<unknown>[] = [];
  for (const name of Object.keys(ports) as PortName[]) {
    const server = await openPort(machine, name, (socket) => {
      if (name !== 'stdin') drained.push(new Promise((closed) => socket.once('close', closed)));
      ports[name](socket);
    });
    closing.defer(() => void server.close());
  }
  closing.defer(() => {
    if (machine.terminal) process.stdin.setRawMode?.(false);
    process.stdin.unpipe();
    process.stdin.pause();
  });

  // A group of its own, because Ctrl-C is for us to act on; it dies with us even where we cannot act.
  const qemu = spawn('setpriv', ['--pdeathsig', 'KILL', 'qemu-system-x86_64', ...qemuArguments(machine)], {
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  let complaint = '';
  qemu.stderr.on('data', (text: Buffer) => (complaint += text.toString()));
  qemu.once('error', (error) => {
    complaint += error.message;
    off.resolve();
  });
  qemu.once('close', () => off.resolve());
  const killQemu = (): void => void qemu.kill('SIGKILL');
  process.once('exit', killQemu);
  closing.defer(() => void process.off('exit', killQemu));

  function switchOff(why: 'timed-out' | 'stopped'): void {
    switchedOff ??= why;
    killQemu();
  }
  const onAbort = (): void => switchOff('stopped');
  limits.signal.addEventListener('abort', onAbort);
  closing.defer(() => limits.signal.removeEventListener('abort', onAbort));
  if (limits.signal.aborted) onAbort();
  const timeLimit = setTimeout(() => switchOff('timed-out'), limits.timeoutMs);
  closing.defer(() => clearTimeout(timeLimit));
  const bootLimit = setTimeout(() => booted || killQemu(), limits.bootTimeoutMs);
  closing.defer(() => clearTimeout(bootLimit));

  await off.promise;
  await Promise.all(drained);
  if (exitCode !== undefined) return { kind: 'exited', exitCode, booted };
  if (switchedOff !== undefined) return { kind: switchedOff, booted };
  const detail = complaint.trim() === '' ? lastLines(machine.console, booted ? 20 : 3) : complaint.trim();
  return { kind: 'died', detail, booted };
}
