/** Runs the suites of test-plan.ts one after the other and adds up what they say (usage: hack/test). */
import { spawn } from 'node:child_process';
import { createWriteStream, existsSync, globSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { planSuites, type Suite } from './test-plan.ts';
import { sourcesOf } from './test-sources.ts';
import { resultMark, type ResultLine } from './test-reporter.ts';
import { exitMachineDied } from './vm-exit-status.ts';

const root = join(import.meta.dirname, '../..');
const logs = mkdtempSync(join(tmpdir(), 'gantry-test-'));
/** Of all suites together; what has not ended then is stopped and counts as failed. */
const deadline = Date.now() + 80 * 60_000;

const stopped = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stopped.abort());

interface Result {
  readonly passed: number;
  readonly failures: { readonly file: string; readonly name: string; readonly error: string }[];
  readonly skips: { readonly file: string; readonly name: string; readonly reason: string }[];
}

interface Ended {
  readonly exitCode: number | null;
  readonly timedOut: boolean;
}

/** Ends a suite's whole tree: hack/node and hack/vm take theirs with them at SIGTERM. */
function stop(kill: (signal: NodeJS.Signals) => void): NodeJS.Timeout {
  kill('SIGTERM');
  return setTimeout(() => kill('SIGKILL'), 15_000);
}

async function runCommand(
  argv: readonly string[],
  logName: string,
  options: { timeoutMs: number; onLine?: (line: string) => boolean; environment?: Record<string, string> },
): Promise<Ended> {
  const [command = '', ...args] = argv;
  const log = createWriteStream(join(logs, `${logName}.log`), { flags: 'a' });
  const child = spawn(command, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, ...options.environment },
  });
  const kill = (signal: NodeJS.Signals): void => {
    try {
      process.kill(-(child.pid ?? 0), signal);
    } catch {
      // Already gone.
    }
  };
  let timedOut = false;
  let second: NodeJS.Timeout | undefined;
  const first = setTimeout(
    () => {
      timedOut = true;
      second ??= stop(kill);
    },
    Math.max(0, Math.min(options.timeoutMs, deadline - Date.now())),
  );
  const onStop = (): void => void (second ??= stop(kill));
  stopped.signal.addEventListener('abort', onStop);
  if (stopped.signal.aborted) onStop();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      if (options.onLine?.(line) !== true) log.write(`${line}\n`);
    });
  }
  const exitCode = await new Promise<number | null>((resolve) => {
    child.once('error', (error) => {
      log.write(`${error.message}\n`);
      resolve(null);
    });
    child.once('close', (code) => resolve(code));
  });
  clearTimeout(first);
  clearTimeout(second);
  stopped.signal.removeEventListener('abort', onStop);
  log.end();
  return { exitCode, timedOut };
}

const logNameOf = (name: string): string => name.replaceAll(/[^A-Za-z0-9.]+/g, '-').replace(/-$/, '');

async function runSuite(suite: Suite): Promise<Result> {
  let passed = 0;
  const failures: Result['failures'] = [];
  const skips: Result['skips'] = [];
  const output = new Map<string, string>();
  const onLine = (line: string): boolean => {
    if (!line.startsWith(resultMark)) return false;
    const result = JSON.parse(line.slice(resultMark.length)) as ResultLine;
    const file = relative(root, result.file);
    const { kind } = result;
    if (kind === 'pass') passed += 1;
    else if (kind === 'fail') failures.push({ ...result, file });
    else if (kind === 'output') output.set(file, (output.get(file) ?? '') + result.text);
    else if (result.reason === '')
      failures.push({ file, name: result.name, error: 'skipped without a reason' });
    else skips.push({ ...result, file });
    return kind === 'pass';
  };
  const reporter = join(root, 'hack/lib/test-reporter.ts');
  const nodeTest = [
    'node',
    // Node strips types by WebAssembly, which emulated processors sometimes break while it is being optimised.
    ...(suite.host[0] === 'hack/vm' ? ['--liftoff-only'] : []),
    '--test',
    `--test-concurrency=${suite.concurrency}`,
    `--test-reporter=${reporter}`,
  ];
  const argv = [...suite.host, ...nodeTest, '--test-reporter-destination=stdout', ...suite.files];
  const run = async () =>
    await runCommand(argv, logNameOf(suite.name), { timeoutMs: suite.timeoutMs, onLine });
  let ended = await run();
  if (suite.host[0] === 'hack/vm' && ended.exitCode === exitMachineDied) {
    console.log(`${suite.name}: the virtual machine itself died; a new one is started, once`);
    passed = 0;
    failures.length = 0;
    skips.length = 0;
    ended = await run();
  }

  const file = suite.files.length === 1 ? (suite.files[0] ?? '') : suite.name;
  if (ended.timedOut) failures.push({ file, name: suite.name, error: 'stopped: it did not end in time' });
  else if (ended.exitCode !== 0 && failures.length === 0) {
    const error = `ended with exit status ${ended.exitCode}, and no test said why: see ${logNameOf(suite.name)}.log`;
    failures.push({ file, name: suite.name, error });
  } else if (passed + failures.length + skips.length === 0) {
    failures.push({ file, name: suite.name, error: 'ran no test' });
  }
  for (const failed of new Set(failures.map((failure) => failure.file))) {
    const text = output.get(failed);
    if (text !== undefined) console.log(`--- output of ${failed}\n${text.trimEnd().slice(-20_000)}\n---`);
  }
  return { passed, failures, skips };
}

/** Commands that are right when they end with 0; each counts as one test. */
async function runCheck(name: string, argv: readonly string[]): Promise<Result> {
  const { exitCode } = await runCommand(argv, logNameOf(name), { timeoutMs: 20 * 60_000 });
  if (exitCode === 0) return { passed: 1, failures: [], skips: [] };
  const error = readFileSync(join(logs, `${logNameOf(name)}.log`), 'utf8').trimEnd();
  return { passed: 0, failures: [{ file: name, name, error: error.slice(-20_000) }], skips: [] };
}

const shellScripts = globSync(['hack/*', 'hack/lib/*.sh', '.ci/run']).filter(
  (file) => !file.endsWith('.ts') && existsSync(file) && !['hack/lib'].includes(file),
);

/** Other programs than Kubernetes' that tests name so, and what makes them. */
const makers: Readonly<Record<string, readonly string[]>> = {
  criu: ['hack/lib/criu.sh'],
  'new-crun': ['hack/runtime', 'crun'],
  'new-runc': ['hack/runtime', 'runc'],
  'nri-plugin': ['hack/lib/nri-plugin.sh'],
  'critest-images': ['hack/test-images', 'critest'],
  'node-suite': ['hack/kubelet', 'kubelet', 'ginkgo', 'e2e_node'],
  'node-suite-images': ['hack/test-images', 'node-suite'],
};

/**
 * crictl and critest are taken from PATH, where they may be newer than what is built here otherwise. Where neither can be
 * had, their tests skip.
 */
async function findCriTools(suites: readonly Suite[]): Promise<void> {
  const wanted = suites.some((suite) => suite.files.some((file) => /crictl|critest/.test(file)));
  const directories = (process.env['PATH'] ?? '').split(delimiter);
  const has = (name: string): boolean => directories.some((directory) => existsSync(join(directory, name)));
  if (!wanted || (has('crictl') && has('critest'))) return;
  const onLine = (line: string): boolean => {
    if (line.startsWith('/')) process.env['PATH'] = [...directories, line].join(delimiter);
    return false;
  };
  const argv = ['hack/lib/cri-tools.sh'];
  const ended = await runCommand(argv, 'cri-tools', { timeoutMs: 20 * 60_000, onLine });
  if (ended.exitCode !== 0)
    console.log(`crictl and critest could not be built: see ${join(logs, 'cri-tools.log')}`);
}

/**
 * Programs, of Kubernetes mostly, that a test names by an environment variable: built before it runs, because there is no way
 * out of a node or a VM. One that cannot be built here is left out, and the test says that it skips for want of it.
 */
async function buildPrograms(suites: readonly Suite[]): Promise<void> {
  for (const program of ['kubelet', 'agnhost', 'stream-client', ...Object.keys(makers)]) {
    const variable = `GANTRY_${program.toUpperCase().replaceAll('-', '_')}`;
    const wanted = suites.some((suite) => suite.files.some((file) => sourcesOf(file).includes(variable)));
    if (!wanted || process.env[variable] !== undefined) continue;
    let path = '';
    const onLine = (line: string): boolean => {
      if (line.startsWith('/')) path = line;
      return false;
    };
    const command = makers[program] ?? ['hack/kubelet', program];
    const ended = await runCommand(command, program, { timeoutMs: 20 * 60_000, onLine });
    if (ended.exitCode === 0) process.env[variable] = path;
    else console.log(`${program} could not be built: see ${join(logs, `${program}.log`)}`);
  }
}

async function main(words: readonly string[]): Promise<number> {
  const total = { passed: 0, failed: 0, skipped: 0 };
  const add = (name: string, startedAt: number, result: Result): void => {
    total.passed += result.passed;
    total.failed += result.failures.length;
    total.skipped += result.skips.length;
    for (const { file, name: test, error } of result.failures)
      console.log(`FAILED ${file}: ${test}\n${error}\n`);
    for (const { file, name: test, reason } of result.skips)
      console.log(`skipped ${file}: ${test}: ${reason}`);
    const counts = `${result.passed} passed, ${result.failures.length} failed, ${result.skips.length} skipped`;
    console.log(`${name}: ${counts} in ${Math.round((Date.now() - startedAt) / 1000)} s`);
  };

  const checks: [string, string[]][] = [['build', ['npm', 'run', '--silent', 'build']]];
  if (words.length === 0) {
    checks.unshift(
      ['shellcheck', ['shellcheck', ...shellScripts]],
      ['check', ['npm', 'run', '--silent', 'check']],
    );
  }
  for (const [name, argv] of checks) {
    if (stopped.signal.aborted) return 130;
    const startedAt = Date.now();
    add(name, startedAt, await runCheck(name, argv));
  }
  const suites = planSuites(words);
  await findCriTools(suites);
  await buildPrograms(suites);
  for (const suite of suites) {
    if (stopped.signal.aborted) return 130;
    const startedAt = Date.now();
    add(suite.name, startedAt, await runSuite(suite));
  }
  console.log(`logs: ${logs}`);
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  return total.failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
