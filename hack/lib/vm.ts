/**
 * Runs one command in a VM (usage: hack/vm). This file reads the arguments, prepares the job and the disk, and tries
 * again when a boot dies early; qemu.ts runs one machine.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { bootMachine, type Machine, type Outcome } from './qemu.ts';
import { exitMachineDied } from './vm-exit-status.ts';

const exitTimedOut = 124;
/** One boot in ten dies under emulation before its init has run; five in a row are a fault of another kind. */
const bootAttempts = 5;

const { values: options, positionals } = parseArgs({
  args: splitCommand(process.argv.slice(2)).options,
  options: {
    kernel: { type: 'string' },
    systemd: { type: 'boolean', default: false },
    disk: { type: 'string' },
    'disk-size': { type: 'string', default: '8G' },
    timeout: { type: 'string', default: '3600' },
    memory: { type: 'string', default: '4096' },
    append: { type: 'string', default: '' },
    tty: { type: 'boolean', default: false },
    log: { type: 'string' },
  },
  allowPositionals: true,
});

/** Options end at the first word that is neither one nor an option's value: the command's own options are not ours. */
function splitCommand(words: readonly string[]): { options: string[]; command: string[] } {
  const flags = new Set(['--systemd', '--tty']);
  let index = 0;
  while (index < words.length) {
    const word = words[index] ?? '';
    if (word === '--') return { options: words.slice(0, index), command: words.slice(index + 1) };
    if (!word.startsWith('--')) break;
    index += flags.has(word) || word.includes('=') ? 1 : 2;
  }
  return { options: words.slice(0, index), command: words.slice(index) };
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Of the caller's environment, what means something else (or nothing) on another machine. */
const leftBehind =
  /^(TMPDIR|XDG_RUNTIME_DIR|DBUS_.*|SSH_.*|_|SHLVL|OLDPWD|NOTIFY_SOCKET|LISTEN_.*|BASH_FUNC_.*)$/;

/** The command as a script, with the caller's environment and folder, for the VM to copy from the shared root. */
function writeJob(directory: string, command: readonly string[]): void {
  mkdirSync(directory);
  chmodSync(directory, 0o700);
  const variables = Object.entries({ ...process.env, GANTRY_TEST_HOST: 'vm' })
    .filter(([name]) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !leftBehind.test(name))
    .map(([name, value]) => `export ${name}=${quote(value ?? '')}`);
  const { rows, columns } = process.stdout;
  const lines = [
    ...(options.tty && columns ? [`stty rows ${rows} cols ${columns}`] : []),
    ...variables,
    `cd ${quote(process.cwd())} || exit ${exitMachineDied}`,
    `exec ${command.map(quote).join(' ')}`,
  ];
  writeFileSync(join(directory, 'command'), `${lines.join('\n')}\n`);
  if (options.tty) writeFileSync(join(directory, 'terminal'), '');
  else if (!process.stdin.isTTY) writeFileSync(join(directory, 'input'), '');
}

/** systemd starts nothing but the basics and the command: not what this machine's own units would start. */
function writeUnits(directory: string): void {
  mkdirSync(directory);
  writeFileSync(
    join(directory, 'gantry-vm.target'),
    '[Unit]\nDescription=The command of hack/vm\nRequires=basic.target\nAfter=basic.target\nWants=gantry-vm.service dbus.socket\n',
  );
  writeFileSync(
    join(directory, 'gantry-vm.service'),
    `[Unit]\nDescription=The command of hack/vm\nAfter=basic.target dbus.socket\n\n` +
      `[Service]\nExecStart=${join(import.meta.dirname, 'vm-inside.sh')}\nTasksMax=infinity\nLimitNOFILE=1048576\n`,
  );
}

function makeDisk(path: string, size: string): void {
  execFileSync('truncate', ['--size', size, path]);
  execFileSync('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=1,lazy_journal_init=1', path]);
}

/** KVM where it boots this kernel: some machines offer one that does not. Asked once per boot of this machine. */
async function accelerator(machine: Machine, cache: string): Promise<'kvm' | 'tcg'> {
  if (!existsSync('/dev/kvm')) return 'tcg';
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const answer = join(cache, `kvm-${bootId}`);
  if (!existsSync(answer)) {
    const probe = await bootMachine(
      { ...machine, takesInput: false, accelerator: 'kvm', arguments: ['gantry.probe=1'] },
      { timeoutMs: 15_000, bootTimeoutMs: 15_000, signal: new AbortController().signal },
    );
    writeFileSync(answer, probe.booted ? 'kvm' : 'tcg');
  }
  return readFileSync(answer, 'utf8') === 'kvm' ? 'kvm' : 'tcg';
}

function exitCodeOf(outcome: Outcome): number {
  switch (outcome.kind) {
    case 'exited':
      return outcome.exitCode;
    case 'timed-out':
      console.error(`vm: switched off after ${options.timeout} s`);
      return exitTimedOut;
    case 'stopped':
      return exitTimedOut + 4;
    case 'died':
      console.error(`vm: the machine died: ${outcome.detail}`);
      return exitMachineDied;
  }
}

async function run(kernel: string, work: string): Promise<number> {
  const { command } = splitCommand(process.argv.slice(2));
  const job = join(work, 'job');
  writeJob(job, command);
  if (options.systemd) writeUnits(join(job, 'units'));
  const disk = options.disk === undefined ? join(work, 'disk') : resolve(options.disk);
  if (!existsSync(disk)) makeDisk(disk, options['disk-size']);

  const machine: Machine = {
    kernel,
    disk,
    work,
    console: options.log === undefined ? join(work, 'console') : resolve(options.log),
    memoryMib: Number(options.memory),
    takesInput: true,
    terminal: options.tty,
    accelerator: 'tcg',
    arguments: [
      `gantry.job=${job}`,
      `gantry.repository=${join(import.meta.dirname, '../..')}`,
      `gantry.kernel=${kernel}`,
      ...(options.systemd
        ? [
            'gantry.init=/lib/systemd/systemd',
            'systemd.unit=gantry-vm.target',
            'systemd.show_status=0',
            'systemd.mask=systemd-timesyncd.service',
          ]
        : [`gantry.init=${join(import.meta.dirname, 'vm-inside.sh')}`]),
      ...options.append.split(' ').filter((word) => word !== ''),
    ],
  };
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.abort());
  machine.accelerator = await accelerator(machine, dirname(kernel));

  for (let attempt = 1; ; attempt++) {
    const outcome = await bootMachine(machine, {
      timeoutMs: Number(options.timeout) * 1000,
      bootTimeoutMs: 180_000,
      signal: stop.signal,
    });
    if (outcome.booted || outcome.kind !== 'died' || attempt === bootAttempts) return exitCodeOf(outcome);
    console.error(`vm: a boot died before its init ran (${outcome.detail}); trying again`);
  }
}

if (options.kernel === undefined || positionals.length > 0) throw new Error('vm.ts is started by hack/vm');
// What a run left that was killed with SIGKILL: the name tells whose it was.
for (const path of globSync(join(tmpdir(), 'gantry-vm-[0-9]*-*'))) {
  if (!existsSync(`/proc/${basename(path).split('-')[2]}`)) rmSync(path, { recursive: true, force: true });
}
const work = mkdtempSync(join(tmpdir(), `gantry-vm-${process.pid}-`));
try {
  process.exitCode = await run(options.kernel, work);
} finally {
  rmSync(work, { recursive: true, force: true });
}
process.exit();
