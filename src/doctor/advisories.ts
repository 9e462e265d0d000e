/** Flaws of OCI runtimes that a host should not run with. Numbers and fixed releases only; docs/security.md has the rest. */

export interface Advisory {
  readonly program: 'runc' | 'crun';
  readonly cves: readonly string[];
  /** What it allows, to follow "which lets". */
  readonly allows: string;
  /** The first fixed release of each series, oldest first. */
  readonly fixedIn: readonly string[];
  /** Why it cannot be reached in containers of this engine; then it is only noted. */
  readonly guard?: string;
}

const ownDev = 'containers here always get a /dev of their own, so it is not reached';

/** Oldest first. */
export const advisories: readonly Advisory[] = [
  {
    program: 'runc',
    cves: ['CVE-2021-30465'],
    allows: 'a container exchange a mount target for a symlink into the host',
    fixedIn: ['1.0.0'],
  },
  {
    program: 'runc',
    cves: ['CVE-2022-29162'],
    allows: 'a process inherit capabilities that it should not have',
    fixedIn: ['1.1.2'],
  },
  {
    program: 'runc',
    cves: ['CVE-2023-25809', 'CVE-2023-27561', 'CVE-2023-28642'],
    allows: 'an image get around AppArmor and masked paths by symlinks in place of /proc or /sys',
    fixedIn: ['1.1.5'],
  },
  {
    program: 'runc',
    cves: ['CVE-2024-21626'],
    allows: 'an image reach the host by way of a leaked descriptor and its working directory',
    fixedIn: ['1.1.12'],
  },
  {
    program: 'runc',
    cves: ['CVE-2025-31133', 'CVE-2025-52565', 'CVE-2025-52881'],
    allows:
      'a container write to the host’s /proc by replacing masked paths and /dev/console while it starts',
    fixedIn: ['1.2.8', '1.3.3', '1.4.0'],
  },
  {
    program: 'runc',
    cves: ['CVE-2026-41579'],
    allows: 'an image with a symlink for /dev make and remove a few files of the host',
    fixedIn: ['1.3.6', '1.4.3', '1.5.0'],
    guard: ownDev,
  },
  {
    program: 'crun',
    cves: ['CVE-2022-27650'],
    allows: 'a process inherit capabilities that it should not have',
    fixedIn: ['1.4.4'],
  },
  {
    program: 'crun',
    cves: ['CVE-2026-88264', 'CVE-2026-88265'],
    allows: 'an image with a symlink for /dev/null or /dev/console have a file of the host opened or made',
    // 1.29.1 is the last one known to have it.
    fixedIn: ['1.29.2'],
    guard: ownDev,
  },
];
