/** `gantry logs`: what a container has written, and writes. */
import { Command, InvalidArgumentError } from 'commander';
import { EngineError } from '../../lib/errors.ts';
import { socketOption, withCri } from '../connection.ts';
import { interruptible } from '../interrupt.ts';
import { lookUpContainer } from '../lookup.ts';
import { parseDurationMs, shortId } from '../units.ts';

interface Options {
  readonly follow?: true;
  readonly tail?: number;
  readonly since?: number;
  readonly timestamps?: true;
}

export function logsCommand(): Command {
  return new Command('logs')
    .description('show what a container has written to its standard output and error')
    .argument('<container>', 'name or id')
    .option('-f, --follow', 'go on until the container has ended')
    .option('-n, --tail <lines>', 'only the last lines', readCount)
    .option(
      '--since <time>',
      'only lines from then on: 10m, 1h30m, or a time such as 2026-01-31T09:00:00Z',
      readSince,
    )
    .option('-t, --timestamps', 'show when each line was written')
    .addOption(socketOption())
    .action(async (container: string, options: Options, command: Command) => {
      await withCri(command, async (cri) => {
        using interrupt = interruptible();
        const containerId = await lookUpContainer(cri, container);
        const { status } = await cri.runtime.containerStatus({ containerId });
        const path = status?.logPath ?? '';
        if (path === '')
          throw new EngineError(
            'failed-precondition',
            `container ${shortId(containerId)} keeps no log: its pod was made without a log directory`,
          );
        const { showLog } = await import('../show-log.ts');
        await showLog(cri, {
          path,
          tail: options.tail,
          sinceMs: options.since,
          timestamps: options.timestamps === true,
          followedId: options.follow ? containerId : undefined,
          signal: interrupt.signal,
        });
      });
    });
}

function readCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a number of lines.');
  return Number(text);
}

function readSince(text: string): number {
  const agoMs = parseDurationMs(text);
  const atMs = agoMs === undefined ? Date.parse(text) : Date.now() - agoMs;
  if (Number.isNaN(atMs)) throw new InvalidArgumentError('It must be a duration such as 10m, or a time.');
  return atMs;
}
