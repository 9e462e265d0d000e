/** Now, in nanoseconds since the epoch. The clock behind it ticks in milliseconds. */
export function unixNowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
