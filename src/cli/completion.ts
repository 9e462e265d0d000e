/** Completion scripts. Names of pods, containers and images come from the daemon while the user types. Pure. */
import type { Command } from 'commander';

export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

/** What a script has to know of a command. */
export interface CommandShape {
  readonly name: string;
  readonly description: string;
  readonly options: readonly { readonly flags: readonly string[]; readonly description: string }[];
  /** The command of ours whose output are the words that an argument may be. */
  readonly words: string;
}

const containerNames = 'containers --all --names';
const podNames = 'pods --names';
const imageNames = 'images --names';
const requestIds = 'trace --quiet';

const wordSources: Readonly<Record<string, string>> = {
  '<container>': containerNames,
  '<pod-or-container...>': podNames,
  '[pod-or-container...]': podNames,
  '<image>': imageNames,
  '<image...>': imageNames,
  '<id>': podNames,
  '[request]': requestIds,
};

/** Reads the commands out of the program. */
export function readShape(program: Command): CommandShape[] {
  return program.commands.map((command) => {
    const [argument] = command.registeredArguments;
    const name = argument === undefined ? '' : placeholder(argument);
    return {
      name: command.name(),
      description: command.description(),
      options: [...command.options, { short: '-h', long: '--help', description: 'show help', hidden: false }]
        .filter(({ hidden }) => !hidden)
        .map(({ short, long, description }) => ({
          flags: [short, long].filter((flag) => flag !== undefined && flag !== null),
          description,
        })),
      words: wordSources[name] ?? (argument?.argChoices ?? []).map((choice) => `=${choice}`).join(' '),
    };
  });
}

/** The script of one shell. */
export function completionScript(shell: Shell, commands: readonly CommandShape[]): string {
  const writers = { bash: bashScript, zsh: zshScript, fish: fishScript };
  return writers[shell](commands);
}

function placeholder(argument: Command['registeredArguments'][number]): string {
  const name = `${argument.name()}${argument.variadic ? '...' : ''}`;
  return argument.required ? `<${name}>` : `[${name}]`;
}

/** The words for an argument, as an expression that bash and zsh share. */
function wordsExpression({ words }: CommandShape): string {
  if (words === '') return '';
  if (words.startsWith('=')) return words.replaceAll('=', '');
  return `$(gantry ${words} 2>/dev/null)`;
}

function bashScript(commands: readonly CommandShape[]): string {
  const cases = commands.map((command) => {
    const flags = command.options.flatMap((option) => option.flags).join(' ');
    return `    ${command.name}) flags="${flags}"; [[ $current == -* ]] || words="${wordsExpression(command)}" ;;`;
  });
  return `# bash completion for gantry
_gantry() {
  local current=\${COMP_WORDS[COMP_CWORD]} command='' flags='' words='' word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in -*) ;; *) command=$word; break ;; esac
  done
  case $command in
    '') flags='--socket --help --version'; words='${commands.map(({ name }) => name).join(' ')} help' ;;
    help) words='${commands.map(({ name }) => name).join(' ')}' ;;
${cases.join('\n')}
  esac
  [[ $current == -* ]] && words=$flags
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _gantry gantry
`;
}

function zshScript(commands: readonly CommandShape[]): string {
  const names = commands.map(({ name, description }) => `    ${singleQuoted(`${name}:${description}`)}`);
  const cases = commands.map((command) => {
    const flags = command.options.flatMap((option) =>
      option.flags.map((flag) => singleQuoted(`${flag}:${option.description}`)),
    );
    const expression = wordsExpression(command);
    const words = expression === '' ? '_files' : `compadd -- ${expression}`;
    return `    ${command.name})
      if [[ $PREFIX == -* ]]; then
        flags=(${flags.join(' ')})
        _describe option flags
      else
        ${words}
      fi ;;`;
  });
  return `#compdef gantry
_gantry() {
  local -a commands flags
  local word command=''
  commands=(
${names.join('\n')}
  )
  for word in "\${(@)words[2,CURRENT-1]}"; do
    [[ $word == -* ]] || { command=$word; break }
  done
  case $command in
    '' | help) _describe command commands ;;
${cases.join('\n')}
  esac
}
compdef _gantry gantry
`;
}

function fishScript(commands: readonly CommandShape[]): string {
  const lines = ['# fish completion for gantry', 'complete -c gantry -f'];
  for (const { name, description, options, words } of commands) {
    lines.push(
      `complete -c gantry -n __fish_use_subcommand -a ${name} -d ${singleQuoted(description)}`,
      ...options.map(
        (option) =>
          `complete -c gantry -n '__fish_seen_subcommand_from ${name}' ${fishFlags(option.flags)} -d ${singleQuoted(option.description)}`,
      ),
    );
    if (words === '') continue;
    const source = words.startsWith('=') ? words.replaceAll('=', '') : `(gantry ${words} 2>/dev/null)`;
    lines.push(`complete -c gantry -n '__fish_seen_subcommand_from ${name}' -a '${source}'`);
  }
  return `${lines.join('\n')}\n`;
}

function fishFlags(flags: readonly string[]): string {
  return flags
    .map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`))
    .join(' ');
}

function singleQuoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
