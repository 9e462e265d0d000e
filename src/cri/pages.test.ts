import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StreamPodSandboxStatsResponse } from '../gen/runtime/v1/api.ts';
import { pages } from './pages.ts';

const kib = 1024;

/** How many items each page has, of items of these sizes. */
async function pageSizes(itemBytes: readonly number[]): Promise<number[][]> {
  const found: number[][] = [];
  let at = 0;
  for await (const page of pages(itemBytes, (bytes) => Buffer.alloc(bytes, 'x'))) {
    const sizes: number[] = [];
    for (let left = page.length; left > 0; at += 1) {
      const size = itemBytes[at] ?? assert.fail('more bytes than items');
      sizes.push(size);
      left -= size;
    }
    found.push(sizes);
  }
  assert.equal(at, itemBytes.length, 'every item has been sent');
  return found;
}

const times = (count: number, bytes: number): number[] => Array.from({ length: count }, () => bytes);

test('small items are a hundred to a page', async () => {
  assert.deepEqual(await pageSizes([]), []);
  assert.deepEqual(await pageSizes([7]), [[7]]);
  assert.deepEqual(await pageSizes(times(100, 500)), [times(100, 500)]);
  assert.deepEqual(await pageSizes(times(201, 500)), [times(100, 500), times(100, 500), [500]]);
});

test('pages of large items end at a mebibyte, and an item above it goes alone', async () => {
  assert.deepEqual(
    await pageSizes(times(12, 200 * kib)),
    [5, 5, 2].map((count) => times(count, 200 * kib)),
  );
  assert.deepEqual(await pageSizes(times(2, 512 * kib)), [times(2, 512 * kib)]);
  assert.deepEqual(await pageSizes([1, 3000 * kib, 2, 3]), [[1], [3000 * kib], [2, 3]]);
});

test('a page is one message with the items of many', async () => {
  const encodeOne = (id: string): Uint8Array =>
    StreamPodSandboxStatsResponse.encode({
      podSandboxStats: [
        {
          attributes: { id, metadata: undefined, labels: {}, annotations: {} },
          linux: undefined,
          windows: undefined,
        },
      ],
    }).finish();
  const ids: (string | undefined)[] = [];
  for await (const page of pages(['a', 'b', 'c'], encodeOne))
    ids.push(...StreamPodSandboxStatsResponse.decode(page).podSandboxStats.map((one) => one.attributes?.id));
  assert.deepEqual(ids, ['a', 'b', 'c']);
});
