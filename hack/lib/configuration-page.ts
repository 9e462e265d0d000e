import { describeConfig, type ConfigRow } from '../../src/config.ts';

const introduction = `# Configuration

\`gantryd\` reads \`/etc/gantry/config.toml\` (or the file that \`--config\` names), then every \`conf.d/*.toml\` beside it in
lexical order; a later file's keys win. Every key has a default, so that no file is needed. Unknown keys and wrong types
are refused, by file and key: \`gantryd config check\` tells before a restart does. \`gantryd config default\` prints a file
with every key. A change takes effect when the daemon is started again, which no container notices.

Two things are read at each use instead, without a restart: \`hosts.toml\` files of registries, and the network
configuration directory, which is watched.
`;

/** The text of docs/configuration.md. */
export function configurationPage(): string {
  const rows = describeConfig();
  const tables = [...new Set(rows.map(({ table }) => table))];
  const sections = tables.map((table) =>
    section(
      table,
      rows.filter((row) => row.table === table && row.key !== undefined),
    ),
  );
  return `${introduction}\n${sections.filter((text) => text !== '').join('\n')}`;
}

function section(table: string, rows: readonly ConfigRow[]): string {
  if (rows.length === 0) return '';
  const lines = rows.map(
    ({ key, defaultToml, meaning }) => `| \`${key ?? ''}\` | \`${defaultToml ?? ''}\` | ${meaning ?? ''} |`,
  );
  const title = table === '' ? 'Top level' : `\`[${table}]\``;
  return `## ${title}\n\n| key | default | effect |\n| --- | --- | --- |\n${lines.join('\n')}\n`;
}
