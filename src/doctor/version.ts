/** Versions as programs print them: numbers and points, perhaps followed by `-rc.1`. Pure. */

/** `1.1.5+ds1` gives 1, 1, 5; what is not there is 0. */
function versionNumbers(version: string): readonly [number, number, number] {
  const [, major = '0', minor = '0', patch = '0'] = /^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?/.exec(version) ?? [];
  return [Number(major), Number(minor), Number(patch)];
}

/** Below 0 when `one` is older. A release candidate is older than its release. */
export function compareVersions(one: string, other: string): number {
  const [ours, theirs] = [versionNumbers(one), versionNumbers(other)];
  for (const place of [0, 1, 2] as const)
    if (ours[place] !== theirs[place]) return ours[place] - theirs[place];
  return Number(isCandidate(other)) - Number(isCandidate(one));
}

/**
 * Whether a version has a fix that was made in several series: `1.2.8`, `1.3.3` fix 1.2 and 1.3, and what is newer
 * than the last has it from the beginning.
 */
export function hasFix(version: string, fixedIn: readonly string[]): boolean {
  const [major, minor] = versionNumbers(version);
  const ofSeries = fixedIn.find((fixed) => {
    const numbers = versionNumbers(fixed);
    return numbers[0] === major && numbers[1] === minor;
  });
  const last = fixedIn.at(-1);
  return compareVersions(version, ofSeries ?? last ?? '0') >= 0;
}

function isCandidate(version: string): boolean {
  return /^v?[\d.]+[-~](?:rc|alpha|beta)/.test(version);
}
