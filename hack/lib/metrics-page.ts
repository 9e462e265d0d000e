import { metricDescriptors } from '../../src/stats/metrics/tables.ts';
import { createRequestMetrics } from '../../src/telemetry/request-metrics.ts';

const introduction = `# Metrics

There are two kinds: what containers use, which the kubelet asks for over the CRI and serves as its own, and what
\`gantryd\` itself does, which Prometheus may ask \`gantryd\` for.

## Containers and pods, over the CRI

The kubelet (feature gate \`PodAndContainerStatsFromCRI\`) serves these at \`/metrics/cadvisor\` in place of its own
readings, under the names that cAdvisor gave them, so that dashboards and alerts go on working. \`crictl metricdescs\`
lists them and \`crictl metricsp\` shows the values of all ready pods.

Every metric carries the labels \`pod\`, \`namespace\`, \`container\`, \`id\` and \`image\`; the table names those that come on
top. \`id\` is the container's, or for the network metrics, which are the pod's and have no \`container\` and no \`image\`, the
pod's. Values are whole numbers, so seconds are cut.

All values are read when they are asked for, with one pass over the cgroup of each container; nothing is sampled in
between. Only the size of the writable layer is measured less often, and carries the time of its measurement.

What this host cannot tell has no value, rather than a zero:

- \`container_pressure_*\` needs pressure stall information: a cgroup2 hierarchy and a kernel that measures it (\`psi=1\`).
- \`container_fs_reads*\`, \`container_fs_writes*\` and \`container_blkio_*\` need the io controller (blkio on cgroup v1), and
  appear with the first block that a container moves.
- \`container_hugetlb_*\` needs the hugetlb controller; the maximum is kept on cgroup v1 only.
- \`container_memory_max_usage_bytes\` needs kernel 5.19 on cgroup v2, \`container_memory_swap\` a kernel that counts swap.
- \`container_network_*\` is for pods with a network of their own.
`;

const ownIntroduction = `## gantryd itself, for Prometheus

\`metrics.address\` of the [configuration](configuration.md) makes \`gantryd\` serve these at \`/metrics\`, without
authentication: give it a loopback address. It is off by default.
`;

interface Row {
  readonly name: string;
  readonly type: string;
  readonly labels: readonly string[];
  readonly help: string;
}

/** The text of docs/metrics.md. */
export async function metricsPage(): Promise<string> {
  const own = await ownRows();
  const isRequest = ({ name }: Row): boolean => name.startsWith('gantry_cri_');
  return [
    introduction,
    table(criRows()),
    ownIntroduction,
    table(own.filter(isRequest)),
    'The process and its Node.js runtime:\n',
    table(own.filter((row) => !isRequest(row))),
  ].join('\n');
}

function criRows(): Row[] {
  return metricDescriptors().map(({ name, type, labelKeys, help }) => ({
    name,
    type,
    labels: labelKeys.slice(5),
    help,
  }));
}

/** From what is exposed after one request: only then the labels show. */
async function ownRows(): Promise<Row[]> {
  const metrics = createRequestMetrics();
  metrics.begin('Version')('OK');
  const text = await metrics.expose();
  return [...text.matchAll(/^# HELP (\S+) (.*)\n# TYPE \S+ (\w+)$/gm)].map(
    ([, name = '', help = '', type = '']) => ({
      name,
      type,
      help,
      labels: name.startsWith('gantry_cri_') ? labelsOf(text, name) : [],
    }),
  );
}

function labelsOf(exposition: string, name: string): string[] {
  const sample = new RegExp(`^${name}(?:_count)?\\{(.*)\\} `, 'm').exec(exposition)?.[1] ?? '';
  return [...sample.matchAll(/(\w+)="/g)].map((match) => match[1] ?? '');
}

function table(rows: readonly Row[]): string {
  const hasLabels = rows.some(({ labels }) => labels.length > 0);
  const line = (name: string, type: string, labels: string, help: string): string =>
    `| ${[name, type, ...(hasLabels ? [labels] : []), help].join(' | ')} |`;
  const sorted = rows.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return [
    line('name', 'type', 'labels', 'meaning'),
    line('---', '---', '---', '---'),
    ...sorted.map(({ name, type, labels, help }) =>
      line(`\`${name}\``, type, labels.map((label) => `\`${label}\``).join(', '), help),
    ),
    '',
  ].join('\n');
}
