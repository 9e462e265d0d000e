/** `gantry status`: is the engine fit to run pods, and what can it do? */
import { Command } from 'commander';
import type { StatusResponse, VersionResponse } from '../../gen/runtime/v1/api.ts';
import { jsonOption, print, socketOption, withCri } from '../connection.ts';
import { formatJson, parseInfo } from '../json.ts';
import { formatTable } from '../table.ts';

export function statusCommand(): Command {
  return new Command('status')
    .description('show whether the engine and the network are ready, and what the runtimes can do')
    .addOption(jsonOption())
    .addOption(socketOption())
    .action(async ({ json }: { readonly json?: true }, command: Command) => {
      const [version, status] = await withCri(
        command,
        async ({ runtime }) =>
          await Promise.all([runtime.version(), runtime.status({ verbose: json === true })]),
      );
      await print(
        json ? formatJson({ version, ...status, info: parseInfo(status.info) }) : describe(version, status),
      );
      if (status.status?.conditions.some((condition) => !condition.status)) process.exitCode = 1;
    });
}

function describe(version: VersionResponse, status: StatusResponse): string {
  const conditions = (status.status?.conditions ?? []).map(({ type, status: isTrue, reason, message }) => [
    type,
    isTrue ? 'yes' : 'no',
    [reason, message].filter((text) => text !== '').join(': '),
  ]);
  const handlers = status.runtimeHandlers
    .filter(({ name }) => name !== '')
    .map(({ name, features }) => [
      name,
      yesOrNo(features?.recursiveReadOnlyMounts),
      yesOrNo(features?.userNamespaces),
    ]);
  return [
    `${version.runtimeName} ${version.runtimeVersion} (CRI ${version.runtimeApiVersion})\n\n`,
    formatTable(['CONDITION', 'TRUE', 'WHY NOT'], conditions),
    '\n',
    formatTable(['RUNTIME', 'RECURSIVE READ-ONLY MOUNTS', 'USER NAMESPACES'], handlers),
  ].join('');
}

function yesOrNo(value: boolean | undefined): string {
  return value === true ? 'yes' : 'no';
}
