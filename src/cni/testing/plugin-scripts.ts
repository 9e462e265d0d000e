/** CNI plugins made of shell, in a directory of their own: they note each call and can be told to misbehave. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AttachmentCache } from '../result-cache.ts';
import { PluginVersions } from '../exec-plugin.ts';
import type { CniDeps } from '../network-operations.ts';
import { OperationGate } from '../operation-gate.ts';
import type { InProcessPlugin, PluginDeps } from '../plugin-types.ts';

const script = `#!/bin/sh
here=$(dirname "$0"); type=$(basename "$0")
cat >"$here/$type.$CNI_COMMAND.stdin"
env | grep ^CNI_ | sort >"$here/$type.$CNI_COMMAND.env"
echo "$CNI_COMMAND $type $CNI_CONTAINERID" >>"$here/calls"
if [ -f "$here/$type.$CNI_COMMAND" ]; then . "$here/$type.$CNI_COMMAND"; fi
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}';;
ADD) echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"'$CNI_NETNS'"}],"ips":[{"interface":0,"address":"10.9.0.7/24","gateway":"10.9.0.1"}],"routes":[{"dst":"0.0.0.0/0"}]}';;
esac
`;

export class PluginScripts implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'gantry-cni-'));

  constructor(...types: readonly string[]) {
    for (const type of types) writeFileSync(join(this.directory, type), script, { mode: 0o755 });
  }

  /** Shell that the plugin runs in that command before, or instead of (\`exit\`), what it does by itself. */
  on(type: string, command: string, shell: string): void {
    writeFileSync(join(this.directory, `${type}.${command}`), shell);
  }

  /** Lets the plugin do again what it does by itself. */
  heal(type: string, command: string): void {
    rmSync(join(this.directory, `${type}.${command}`), { force: true });
  }

  /** The calls since the last look, as `ADD first pod1`. */
  calls(): string[] {
    const path = join(this.directory, 'calls');
    if (!existsSync(path)) return [];
    const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
    rmSync(path);
    return lines.map((line) => line.trim());
  }

  /** What the plugin was given in its last such call. */
  request(type: string, command: string): Record<string, unknown> {
    return JSON.parse(readFileSync(join(this.directory, `${type}.${command}.stdin`), 'utf8')) as Record<
      string,
      unknown
    >;
  }

  environment(type: string, command: string): string[] {
    return readFileSync(join(this.directory, `${type}.${command}.env`), 'utf8')
      .trim()
      .split('\n');
  }

  async deps(
    options: { readonly inProcess?: readonly InProcessPlugin[]; readonly timeoutMs?: number } = {},
  ): Promise<CniDeps> {
    return {
      binDirs: [this.directory],
      inProcess: options.inProcess ?? [],
      // No plugin in these tests asks the kernel.
      pluginDeps: {} as PluginDeps,
      versions: new PluginVersions(),
      timeoutMs: options.timeoutMs ?? 20_000,
      gate: new OperationGate(),
      onLeftBehind: (error) => {
        throw error;
      },
      attachments: await AttachmentCache.open(join(this.directory, 'cache')),
    };
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
