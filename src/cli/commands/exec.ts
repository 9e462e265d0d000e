/** `gantry exec`: a command in a running container; its exit code becomes ours. */
import { Command } from 'commander';
import { socketOption, withCri, write } from '../connection.ts';
import { lookUpContainer } from '../lookup.ts';

interface Options {
  readonly interactive?: true;
  readonly tty?: true;
}

export function execCommand(): Command {
  return new Command('exec')
    .description('run a command in a running container, and end with its exit code')
    .usage('[options] <container> <command...>')
    .argument('<container>', 'name or id')
    .argument('<command...>', 'program and arguments')
    .option('-i, --interactive', 'pass standard input on')
    .option('-t, --tty', 'give the command a terminal')
    .addOption(socketOption())
    .passThroughOptions()
    .action(async (container: string, cmd: readonly string[], options: Options, command: Command) => {
      const stdin = options.interactive === true;
      const tty = options.tty === true;
      const url = await withCri(command, async (cri) => {
        const containerId = await lookUpContainer(cri, container);
        const answer = await cri.runtime.exec({
          containerId,
          cmd: [...cmd],
          stdin,
          stdout: true,
          stderr: !tty,
          tty,
        });
        return answer.url;
      });
      const { runRemoteCommand } = await import('../remote-command.ts');
      const { rawTerminal, watchSize } = await import('../terminal.ts');
      using _ = tty && stdin ? rawTerminal(process.stdin) : undefined;
      process.exitCode = await runRemoteCommand({
        url,
        stdin: stdin ? process.stdin : undefined,
        stdout: async (data) => await write(process.stdout, data),
        stderr: async (data) => await write(process.stderr, data),
        watchSize: tty ? watchSize : undefined,
      });
    });
}
