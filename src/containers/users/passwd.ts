import { accountLines, parseIdField } from './account-lines.ts';

/** An account of /etc/passwd. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** The first account that fits, as getpwnam and getpwuid find it. Lines that make no sense are passed over. */
export function findAccount(passwd: string, fits: (account: Account) => boolean): Account | undefined {
  for (const [name, , uidField, gidField, , home] of accountLines(passwd)) {
    const uid = parseIdField(uidField);
    const gid = parseIdField(gidField);
    if (name === undefined || name === '' || uid === undefined || gid === undefined) continue;
    const account: Account = { name, uid, gid, home: home ?? '' };
    if (fits(account)) return account;
  }
  return undefined;
}
