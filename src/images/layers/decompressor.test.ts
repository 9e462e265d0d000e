import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, describe, test } from 'node:test';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import type { ChainId } from '../../lib/ids.ts';
import { Poller } from '../../linux/poll.ts';
import { installedProgram } from '../../linux/program.ts';
import { Decompression, decompressorFor, type DecompressorName } from './decompressor.ts';
import { archive, diffIdOf, entry } from './testing/tar-build.ts';
import {
  chunks,
  refuses,
  signal,
  snapshots,
  tarType,
  unpack,
  unpackerWithPrograms,
} from './testing/unpack.ts';

const tar = archive(
  entry({ name: 'a' }, Buffer.alloc(8_000_000, 'what compresses well, and is long enough')),
);
const compressed: Readonly<Record<DecompressorName, { readonly mediaType: string; readonly data: Buffer }>> =
  {
    igzip: { mediaType: `${tarType}+gzip`, data: gzipSync(tar) },
    zstd: { mediaType: `${tarType}+zstd`, data: zstdCompressSync(tar) },
  };
const all = ['igzip', 'zstd'] as const;

/** Children of this process with that name. */
function running(name: string): number[] {
  const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8');
  return children
    .trim()
    .split(' ')
    .map(Number)
    .filter((pid) => existsSync(`/proc/${pid}/comm`))
    .filter((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === name);
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

function removeLayers(): void {
  for (const layer of readdirSync(snapshots)) rmSync(join(snapshots, layer), { recursive: true });
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

test('no program is taken that is not allowed, or for another compression', () => {
  assert.equal(decompressorFor(`${tarType}+gzip`, []), undefined);
  assert.equal(decompressorFor(`${tarType}+gzip`, ['zstd']), undefined);
  assert.equal(decompressorFor(tarType, all), undefined);
  assert.equal(decompressorFor(`${tarType}+lz4`, all), undefined);
});

for (const name of all) {
  const { mediaType, data } = compressed[name];
  const skip = installedProgram(name) === undefined && `${name} is not installed`;

  describe(`layers through ${name}`, { skip }, () => {
    const request = {
      mediaType,
      chainId: diffIdOf(tar) as string as ChainId,
      parentChainIds: [],
      expectedDiffId: diffIdOf(tar),
      signal,
    };

    test('is taken for its media type', () => {
      assert.equal(decompressorFor(mediaType, all)?.argv[0], name);
    });

    test('one process for one layer, gone with it, and no descriptor left', async () => {
      await unpack(archive(entry({ name: 'first' }, name)), { unpacker: unpackerWithPrograms });
      const before = openDescriptors();
      let most = 0;
      async function* watched(): AsyncGenerator<Uint8Array> {
        for await (const chunk of chunks(data, 500)) {
          most = Math.max(most, running(name).length);
          yield chunk;
        }
      }
      const { sizeBytes } = await unpackerWithPrograms.unpack({ ...request, source: watched() });
      assert.ok(sizeBytes >= 8_000_000);
      assert.equal(most, 1);
      assert.deepEqual(running(name), []);
      assert.equal(openDescriptors(), before);
      removeLayers();
    });

    test('a layer that is aborted while nothing comes is undone at once', async () => {
      const controller = new AbortController();
      const before = openDescriptors();
      async function* stalled(): AsyncGenerator<Uint8Array> {
        yield data.subarray(0, data.length / 2);
        await until(() => running(name).length === 1);
        controller.abort(new Error('client went away'));
        await new Promise(() => {});
      }
      const unpacking = unpackerWithPrograms.unpack({
        ...request,
        source: stalled(),
        signal: controller.signal,
      });
      await assert.rejects(unpacking, /client went away/);
      assert.deepEqual(running(name), []);
      assert.deepEqual(readdirSync(snapshots), []);
      assert.equal(openDescriptors(), before);
    });

    test('an aborted layer fails by the reason it was aborted for, also while bytes come', async () => {
      const controller = new AbortController();
      async function* streaming(): AsyncGenerator<Uint8Array> {
        for (let at = 0; at < data.length - 10; at += 10) {
          yield data.subarray(at, at + 10);
          if (at === 100) controller.abort(new Error('client went away'));
          await nextTurn();
        }
      }
      const unpacking = unpackerWithPrograms.unpack({
        ...request,
        source: streaming(),
        signal: controller.signal,
      });
      await assert.rejects(unpacking, /client went away/);
      assert.deepEqual(running(name), []);
    });

    test('a source that fails after its last byte fails the layer, whose tar is whole', async () => {
      async function* lying(): AsyncGenerator<Uint8Array> {
        yield data;
        // What comes next makes igzip end; zstd has to be told where its input ends.
        if (name === 'igzip') yield Buffer.alloc(3_000_000, 'garbage');
        if (name === 'igzip') await until(() => running(name).length === 0);
        await sleep(100);
        throw new Error('the blob has another digest');
      }
      const unpacking = unpackerWithPrograms.unpack({ ...request, source: lying() });
      await assert.rejects(unpacking, /the blob has another digest/);
      assert.deepEqual(readdirSync(snapshots), []);
    });

    test('a program that is killed is no damage of the layer', async () => {
      async function* fatal(): AsyncGenerator<Uint8Array> {
        yield data.subarray(0, 500);
        await until(() => running(name).length === 1);
        for (const pid of running(name)) process.kill(pid, 'SIGKILL');
        await until(() => running(name).length === 0);
        yield* chunks(data.subarray(500), 500);
      }
      await refuses(tar, 'internal', /ended by signal 9/, {
        mediaType,
        source: fatal(),
        unpacker: unpackerWithPrograms,
      });
    });

    test('what follows the end of the compressed data goes nowhere, or is refused', async () => {
      const source = (): AsyncIterable<Uint8Array> =>
        Readable.from([data, Buffer.alloc(3_000_000, 'garbage')]);
      const options = { mediaType, unpacker: unpackerWithPrograms };
      if (name === 'zstd')
        return await refuses(tar, 'data-loss', /damaged compression/, { ...options, source: source() });
      assert.deepEqual(readdirSync(await unpack(tar, { ...options, source: source() })), ['a']);
      removeLayers();
    });

    test('a tar that is refused ends the program, however much is still to come', async () => {
      const evil = archive(entry({ name: '../a' }), entry({ name: 'b' }, Buffer.alloc(50_000_000)));
      const packed = name === 'igzip' ? gzipSync(evil) : zstdCompressSync(evil);
      await refuses(evil, 'invalid-argument', /leaves the layer/, {
        mediaType,
        source: chunks(packed, 1000),
        unpacker: unpackerWithPrograms,
      });
      assert.deepEqual(running(name), []);
    });
  });
}

describe('a program that does not do its work', () => {
  const poller = new Poller();
  after(async () => await poller[Symbol.asyncDispose]());
  const start = (script: string, stallLimitMs = 60_000): Decompression =>
    Decompression.start(poller, {
      argv: ['sh', '-c', script],
      compression: 'gzip',
      about: 'layer: ',
      stallLimitMs,
    });
  const failsWith = async (decompression: Decompression, kind: string, message: RegExp): Promise<void> => {
    await using program = decompression;
    await program.take(compressed.igzip.data);
    await assert.rejects(program.end(), (error: Error & { kind?: string }) => {
      assert.equal(error.kind, kind, error.message);
      assert.match(error.message, message);
      return true;
    });
  };

  test('its exit code tells damage from what it lacks', async () => {
    await failsWith(
      start('echo broken >&2; exit 1'),
      'data-loss',
      /^layer: sh: damaged compression: "broken"/,
    );
    for (const code of [2, 104, 127])
      await failsWith(start(`exit ${code}`), 'internal', new RegExp(`exit code ${code}`));
  });

  test('one that hangs is killed', async () => {
    await failsWith(start('exec sleep 1000', 50), 'internal', /ended by signal 9/);
  });
});
