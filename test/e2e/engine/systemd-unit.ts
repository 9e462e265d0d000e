/** `gantryd` as the unit that packages install, on a machine that systemd runs. */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../../..');
const unitDirectory = '/run/systemd/system';
const logFile = '/var/log/gantryd.log';

/** What this machine's place of the program changes in the packaged unit, and the time that emulation takes. */
function dropIn(): string {
  return [
    '[Service]',
    'ExecStart=',
    `ExecStart=${process.execPath} ${join(root, 'dist/main.js')}`,
    'TimeoutStartSec=300',
    `StandardOutput=append:${logFile}`,
    `StandardError=append:${logFile}`,
    '',
  ].join('\n');
}

/** Runs systemctl; gives what it says. @throws Error with its stderr, and the daemon's log */
export async function systemctl(...args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await run('systemctl', [...args]);
    return stdout.trim();
  } catch (error) {
    throw new Error(`systemctl ${args.join(' ')}\n${daemonLog()}`, { cause: error });
  }
}

/** Everything that the daemon has written so far. */
export function daemonLog(): string {
  try {
    return readFileSync(logFile, 'utf8');
  } catch {
    return '';
  }
}

/** Installs the packaged unit with a drop-in until the next boot, and starts it; the sockets answer then. */
export async function startUnit(): Promise<void> {
  const unit = readFileSync(join(root, 'packaging/systemd/gantryd.service'), 'utf8');
  mkdirSync(join(unitDirectory, 'gantryd.service.d'), { recursive: true });
  writeFileSync(join(unitDirectory, 'gantryd.service'), unit);
  writeFileSync(join(unitDirectory, 'gantryd.service.d/place.conf'), dropIn());
  await systemctl('daemon-reload');
  await systemctl('start', 'gantryd.service');
}

/** A property of a unit. */
export async function unitProperty(unit: string, property: string): Promise<string> {
  return await systemctl('show', '--property', property, '--value', unit);
}
