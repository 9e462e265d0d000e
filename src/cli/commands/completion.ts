/** `gantry completion`: a script for the shell, made from the tree of commands. */
import { Argument, Command } from 'commander';
import { completionScript, readShape, shells, type Shell } from '../completion.ts';
import { print } from '../connection.ts';

export function completionCommand(buildProgram: () => Promise<Command>): Command {
  return new Command('completion')
    .description('print a completion script for a shell')
    .addArgument(new Argument('<shell>', 'whose script').choices(shells))
    .addHelpText(
      'after',
      '\nbash: . <(gantry completion bash)\nzsh:  . <(gantry completion zsh)\nfish: gantry completion fish | source',
    )
    .action(async (shell: Shell) => {
      await print(completionScript(shell, readShape(await buildProgram())));
    });
}
