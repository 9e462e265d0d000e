/** What the daemon says of itself. Pure; who can ask it passes the answer. */
import { findingsOf, type Finding } from './finding.ts';

export type DaemonFacts =
  | { readonly isReachable: false; readonly reason: string }
  | {
      readonly isReachable: true;
      readonly socket: string;
      readonly version: string;
      readonly conditions: readonly {
        readonly type: string;
        readonly status: boolean;
        readonly reason: string;
        readonly message: string;
      }[];
    };

export function judgeDaemon(facts: DaemonFacts): Finding[] {
  const finding = findingsOf('daemon');
  if (!facts.isReachable) return [finding('gantryd', 'problem', facts.reason)];
  return [
    finding('gantryd', 'ok', `${facts.version} answers on ${facts.socket}`),
    ...facts.conditions.map(({ type, status, reason, message }) =>
      status
        ? finding(type, 'ok', 'true')
        : finding(type, 'problem', [reason, message].filter((text) => text !== '').join(': ') || 'false'),
    ),
  ];
}
