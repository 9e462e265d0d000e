/** Counters of one network interface since it was made. */
export interface InterfaceCounters {
  readonly name: string;
  readonly receivedBytes: bigint;
  readonly receivedPackets: bigint;
  readonly receiveErrors: bigint;
  readonly receiveDropped: bigint;
  readonly sentBytes: bigint;
  readonly sentPackets: bigint;
  readonly sendErrors: bigint;
  readonly sendDropped: bigint;
}

/** Reads /proc/net/dev, without the loopback interface: two lines of headings, then `name: 8 receive counters, 8 transmit counters`. */
export function parseNetworkCounters(text: string): InterfaceCounters[] {
  return text
    .split('\n')
    .map((line) => /^\s*([^:\s]+):\s*(.*)$/.exec(line))
    .filter((match) => match !== null)
    .map((match) => ({ name: match[1] ?? '', numbers: (match[2] ?? '').trim().split(/\s+/) }))
    .filter(
      ({ name, numbers }) =>
        name !== 'lo' && numbers.length >= 16 && numbers.every((one) => /^\d+$/.test(one)),
    )
    .map(({ name, numbers }) => {
      const at = (index: number): bigint => BigInt(numbers[index] ?? 0);
      return {
        name,
        receivedBytes: at(0),
        receivedPackets: at(1),
        receiveErrors: at(2),
        receiveDropped: at(3),
        sentBytes: at(8),
        sentPackets: at(9),
        sendErrors: at(10),
        sendDropped: at(11),
      };
    });
}
