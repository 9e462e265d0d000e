/** The tree of commands. */
import { Command } from 'commander';
import packageJson from '../../package.json' with { type: 'json' };
import { socketOption } from './connection.ts';

type Loader = () => Promise<Command>;

/** Each command's file is loaded only when its name is on the command line, or when all of them are to be shown. */
const loaders: Readonly<Record<string, Loader>> = {
  status: async () => (await import('./commands/status.ts')).statusCommand(),
  doctor: async () => (await import('./commands/doctor.ts')).doctorCommand(),
  pull: async () => (await import('./commands/pull.ts')).pullCommand(),
  images: async () => (await import('./commands/images.ts')).imagesCommand(),
  rmi: async () => (await import('./commands/rmi.ts')).rmiCommand(),
  run: async () => (await import('./commands/run.ts')).runCommand(),
  pods: async () => (await import('./commands/pods.ts')).podsCommand(),
  containers: async () => (await import('./commands/containers.ts')).containersCommand(),
  logs: async () => (await import('./commands/logs.ts')).logsCommand(),
  exec: async () => (await import('./commands/exec.ts')).execCommand(),
  stats: async () => (await import('./commands/stats.ts')).statsCommand(),
  stop: async () => (await import('./commands/stop.ts')).stopCommand(),
  rm: async () => (await import('./commands/rm.ts')).rmCommand(),
  inspect: async () => (await import('./commands/inspect.ts')).inspectCommand(),
  events: async () => (await import('./commands/events.ts')).eventsCommand(),
  trace: async () => (await import('./commands/trace.ts')).traceCommand(),
  completion: async () => (await import('./commands/completion.ts')).completionCommand(buildProgram),
};

/** The program with all of its commands, or with those that `argv` can mean. */
export async function buildProgram(argv: readonly string[] = []): Promise<Command> {
  const named = Object.keys(loaders).filter((name) => argv.includes(name));
  const wantsAll = named.length === 0 || argv[0] === 'help' || argv[0]?.startsWith('-') === true;
  const program = new Command('gantry')
    .description('Runs and shows pods, containers and images of the gantryd on this node.')
    .version(`gantry ${packageJson.version}`, '-V, --version', 'print the version')
    .addOption(socketOption())
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help for a command')
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'gantry: ')) })
    .exitOverride();
  for (const name of wantsAll ? Object.keys(loaders) : named) {
    const command = await loaders[name]?.();
    if (command !== undefined) program.addCommand(inherit(program, command));
  }
  return program;
}

/** Runs one command line. @throws CommanderError for wrong usage, after having said so; what a command throws */
export async function runProgram(argv: readonly string[]): Promise<void> {
  const program = await buildProgram(argv);
  await program.parseAsync([...argv], { from: 'user' });
}

/** `addCommand` does not hand the program's settings on, as `command()` does. */
function inherit(program: Command, command: Command): Command {
  command.copyInheritedSettings(program).helpOption('-h, --help', 'show help');
  for (const child of command.commands) inherit(program, child);
  return command;
}
