/** A node under test as most files need it: with one image, and with its state taken when no pod was left. */
import { after, afterEach, before, describe } from 'node:test';
import { CriClient } from './cri-client.ts';
import type { DaemonProcess } from './daemon.ts';
import { assertNothingLeft, nodeState, type NodeState } from './leftovers.ts';
import { pull, removeAllPods } from './pod-steps.ts';
import { withDaemon } from './restarted.ts';
import { engineSkipReason, startTestNode, type TestNode } from './test-node.ts';

interface NodeOptions {
  /** The daemon's configuration file. */
  readonly toml?: string;
  readonly timeoutMs?: number;
  /** Why it cannot run here, besides what every node needs. */
  readonly skipReason?: string | undefined;
  /** Done before the node starts; what it adds to the stack is undone after the node's end. */
  readonly prepare?: (stack: DisposableStack) => void;
  /** Removes all pods after each test, and asserts that nothing is left of them. */
  readonly isEmptiedAfterEach?: boolean;
}

/** What the tests of one node are given; the node itself is there when they run. */
interface NodeUnderTest {
  readonly cri: CriClient;
  readonly node: Omit<TestNode, typeof Symbol.asyncDispose>;
  /** Asserts that the node holds no more than before its first test; the daemon may have been started again since. */
  readonly assertEmpty: () => Promise<void>;
}

/** A `describe` around a node of its own, which has pulled busybox; skipped by name where there can be none. */
export function describeNode(name: string, options: NodeOptions, tests: (at: NodeUnderTest) => void): void {
  const { toml, timeoutMs, prepare, isEmptiedAfterEach } = options;
  const skip = engineSkipReason() ?? options.skipReason ?? false;
  describe(name, { skip, ...(timeoutMs === undefined ? {} : { timeout: timeoutMs }) }, () => {
    const cri = new CriClient();
    const prepared = new DisposableStack();
    let node: TestNode | undefined;
    let empty: NodeState = {};
    const started = (): TestNode => {
      if (node === undefined) throw new Error('the node has not been started');
      return node;
    };
    const assertEmpty = async (): Promise<void> =>
      await assertNothingLeft(withDaemon(empty, started().daemon.pid));

    before(async () => {
      prepare?.(prepared);
      node = await startTestNode(toml);
      await pull(cri, node.images.busybox);
      empty = nodeState();
    });
    after(async () => {
      cri[Symbol.dispose]();
      await node?.[Symbol.asyncDispose]();
      prepared.dispose();
    });
    if (isEmptiedAfterEach === true) {
      afterEach(async () => {
        await removeAllPods(cri);
        await assertEmpty();
      });
    }
    tests({
      cri,
      node: {
        get registry() {
          return started().registry;
        },
        get images() {
          return started().images;
        },
        get daemon(): DaemonProcess {
          return started().daemon;
        },
        get directory() {
          return started().directory;
        },
      },
      assertEmpty,
    });
  });
}
