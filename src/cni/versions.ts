/** Versions of the CNI protocol: which are spoken here, and which of several is used. */

/** Oldest first. Older than 0.3.0 has another shape of result (`ip4`, `ip6`), which no living plugin gives. */
export const spokenVersions: readonly string[] = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];

/** The version of every result inside the engine. */
export const currentVersion = '1.1.0';

/** True when `version` is `least` or newer. An unknown version is older than all. */
export function isAtLeast(version: string, least: string): boolean {
  return spokenVersions.indexOf(version) >= spokenVersions.indexOf(least);
}

/** The newest version that each of the lists holds and that is spoken here; undefined when there is none. */
export function newestCommon(...lists: readonly (readonly string[])[]): string | undefined {
  return spokenVersions.findLast((version) => lists.every((list) => list.includes(version)));
}
