import type { InterfaceCounters } from '../network-counters.ts';
import type { MetricFamily } from './family.ts';

/** The interfaces of a pod: its own metrics, not those of a container. None for a pod in the node's network. */
export const networkFamilies: readonly MetricFamily<readonly InterfaceCounters[]>[] = [
  network('receive_bytes', 'Bytes received.', (counters) => counters.receivedBytes),
  network('receive_packets', 'Packets received.', (counters) => counters.receivedPackets),
  network(
    'receive_packets_dropped',
    'Packets dropped while receiving.',
    (counters) => counters.receiveDropped,
  ),
  network('receive_errors', 'Errors while receiving.', (counters) => counters.receiveErrors),
  network('transmit_bytes', 'Bytes sent.', (counters) => counters.sentBytes),
  network('transmit_packets', 'Packets sent.', (counters) => counters.sentPackets),
  network('transmit_packets_dropped', 'Packets dropped while sending.', (counters) => counters.sendDropped),
  network('transmit_errors', 'Errors while sending.', (counters) => counters.sendErrors),
];

function network(
  name: string,
  help: string,
  read: (counters: InterfaceCounters) => bigint,
): MetricFamily<readonly InterfaceCounters[]> {
  return {
    name: `container_network_${name}_total`,
    help,
    type: 'counter',
    labels: ['interface'],
    read: (interfaces) => interfaces.map((counters) => ({ labels: [counters.name], value: read(counters) })),
  };
}
