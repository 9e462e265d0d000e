import { accountLines, parseIdField } from './account-lines.ts';

// The kernel's NGROUPS_MAX: setgroups refuses more.
const maxGroups = 65_536;

/** The gid of the first group of this name. */
export function findGroup(group: string, name: string): number | undefined {
  for (const [groupName, , gidField] of accountLines(group)) {
    const gid = parseIdField(gidField);
    if (groupName === name && gid !== undefined) return gid;
  }
  return undefined;
}

/** The gids of the groups that list this account as a member. */
export function groupsOf(group: string, accountName: string): number[] {
  const gids = new Set<number>();
  for (const [, , gidField, members = ''] of accountLines(group)) {
    const gid = parseIdField(gidField);
    if (gid !== undefined && gids.size < maxGroups && members.split(',').includes(accountName)) gids.add(gid);
  }
  return [...gids];
}
