import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { LoadedNetworks } from './load-network-list.ts';
import { NetworkListWatcher } from './network-list-watcher.ts';

test(
  'the watcher follows a directory that does not exist yet, changes, goes and comes back',
  { timeout: 60_000 },
  async (t) => {
    const root = mkdtempSync(join(tmpdir(), 'gantry-watch-'));
    t.after(() => rmSync(root, { recursive: true }));
    const directory = join(root, 'cni', 'net.d');
    let onChange: (loaded: LoadedNetworks) => void = () => {};
    using watcher = new NetworkListWatcher({
      directory,
      onChange: (loaded) => onChange(loaded),
      onPolling: assert.fail,
    });
    assert.equal(watcher.loaded.isEmpty, true);

    const until = async (
      isIt: (loaded: LoadedNetworks) => boolean,
      cause: () => void,
    ): Promise<LoadedNetworks> => {
      const seen = Promise.withResolvers<LoadedNetworks>();
      onChange = (loaded) => {
        if (isIt(loaded)) seen.resolve(loaded);
      };
      // The watcher itself keeps no process alive.
      const alive = setInterval(() => {}, 1000);
      t.after(() => clearInterval(alive));
      cause();
      const loaded = await seen.promise;
      clearInterval(alive);
      return loaded;
    };
    const write = (text: string): void => {
      writeFileSync(join(root, 'new'), text);
      renameSync(join(root, 'new'), join(directory, '10-net.conflist'));
    };
    const document = (name: string): string =>
      JSON.stringify({ cniVersion: '1.0.0', name, plugins: [{ type: 'bridge' }] });

    await until(
      ({ list }) => list?.name === 'one',
      () => {
        mkdirSync(directory, { recursive: true });
        write(document('one'));
      },
    );
    await until(
      ({ list }) => list?.name === 'two',
      () => write(document('two')),
    );
    const broken = await until(
      ({ list }) => list === undefined,
      () => write('{'),
    );
    assert.match(broken.faults.join(), /10-net\.conflist: not JSON/);
    await until(
      ({ isEmpty }) => isEmpty,
      () => rmSync(join(root, 'cni'), { recursive: true }),
    );
    await until(
      ({ list }) => list?.name === 'three',
      () => {
        mkdirSync(directory, { recursive: true });
        write(document('three'));
      },
    );
    await until(
      ({ list }) => list?.plugins.length === 2,
      () => {
        mkdirSync(join(directory, 'three'));
        writeFileSync(join(directory, 'three', 'a.conf'), '{"type":"portmap"}');
      },
    );
    assert.equal(watcher.loaded.list?.name, 'three');
  },
);
