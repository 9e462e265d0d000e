/**
 * The rules that make host ports lead to pods, one table for all pods of all networks: what differs between pods are
 * elements of its sets, so that a thousand ports cost a packet no more than one.
 */
import { setNames } from './port-mapping.ts';

export const portsFamily = 'inet';
export const portsTable = 'gantry_ports';
/** The last that the transaction makes: where it is, all is. */
export const portsLastChain = 'output';

/** The mark of a connection's first packet, on the bit that the standard plugins use for the same. */
const cameThroughMapping = 0x2000;
const allBits = 0xffffffff;

const families = [
  { digit: 4, ip: 'ip', type: 'ipv4_addr' },
  { digit: 6, ip: 'ip6', type: 'ipv6_addr' },
] as const;

/** The table, in nft's language. What was left of an older one is replaced. */
export function portRules(): string {
  const table = `table ${portsFamily} ${portsTable}`;
  return `
add ${table}
delete ${table}
${table} {
${families.map(({ digit, type }) => sets(digit, type)).join('')}
  chain forward_ports {
    # Kept by what a mapping takes, which ends the chain.
    meta mark set meta mark or ${cameThroughMapping}
${families.map(({ digit, ip }) => forwardRules(digit, ip)).join('')}
    meta mark set meta mark and ${allBits - cameThroughMapping}
  }
  chain return_path {
    ip saddr 127.0.0.0/8 masquerade
    ip saddr . ip daddr @${setNames.neighbours}4 masquerade
    ip6 saddr . ip6 daddr @${setNames.neighbours}6 masquerade
  }
  # CVE-2020-8558: route_localnet, which 127.0.0.1 needs, must not let others speak to the host's loopback.
  chain guard_loopback {
    type filter hook prerouting priority -300; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
  }
  # Only what came through a mapping: what a service sends to the same pod keeps its source.
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    meta mark and ${cameThroughMapping} != 0 ct status dnat jump return_path
  }
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    fib daddr type local jump forward_ports
  }
  chain ${portsLastChain} {
    type nat hook output priority -100; policy accept;
    # Linux routes no answer back to ::1: refused at once is better than no answer.
    ip6 daddr ::1 return
    fib daddr type local jump forward_ports
  }
}
`;
}

function sets(digit: number, address: string): string {
  return `
  map ${setNames.anywhere}${digit} { type inet_proto . inet_service : ${address} . inet_service; }
  map ${setNames.atAddress}${digit} { type inet_proto . ${address} . inet_service : ${address} . inet_service; }
  set ${setNames.neighbours}${digit} { type ${address} . ${address}; flags interval; }
`;
}

/** A mapping of one host address goes before one of all. */
function forwardRules(digit: number, ip: string): string {
  return `
    dnat ${ip} to meta l4proto . ${ip} daddr . th dport map @${setNames.atAddress}${digit}
    dnat ${ip} to meta l4proto . th dport map @${setNames.anywhere}${digit}
`;
}
