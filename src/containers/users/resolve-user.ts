/**
 * Which uid, gid and groups a container's processes get. The request and the image name them; /etc/passwd and /etc/group
 * of the image translate. Those files are untrusted: they can pick ids, but nothing in them can stop or cheat the engine.
 */
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import type { ContainerSecurity } from '../container-config.ts';
import { hasControlCharacter } from '../spec/environment.ts';
import type { SpecUser } from '../spec/spec-input.ts';
import { maxAccountFileBytes } from './account-lines.ts';
import { findGroup, groupsOf } from './group.ts';
import { isId, maxId, parseUserReference, type Identity } from './parse-user.ts';
import { findAccount, type Account } from './passwd.ts';

/** Reads a regular file below a root, following no link out of it; undefined when there is none. */
export type ReadFileInRoot = (root: string, path: string, maxBytes: number) => Buffer | undefined;

/** Who asks for which user. */
export interface UserRequest {
  readonly rootfs: string;
  /** The image's USER, empty for none. */
  readonly imageUser: string;
  readonly security: ContainerSecurity;
}

interface AccountFiles {
  readonly passwd: string;
  readonly group: string;
}

/**
 * Looks up the user of a container. The supplementary groups always begin with the primary group (CVE-2022-36109,
 * CVE-2022-2995, CVE-2023-25173: a process outside its own group's list steps around permissions that deny the group).
 *
 * @throws EngineError invalid-argument for ids out of range, a group without a user, or a name that the image does not have
 */
export function resolveUser(
  deps: { readonly readFileInRoot: ReadFileInRoot },
  request: UserRequest,
): SpecUser {
  const { security, rootfs } = request;
  const { user, group } = requestedUser(request);
  const files: AccountFiles = {
    passwd: readAccountFile(deps, rootfs, '/etc/passwd'),
    group: readAccountFile(deps, rootfs, '/etc/group'),
  };
  const account = findUser(files, user);
  const gid = security.runAsGroup ?? (group === undefined ? account.gid : groupId(files, group));
  const fromImage =
    security.supplementalGroupsPolicy === 'merge' && account.name !== undefined
      ? groupsOf(files.group, account.name)
      : [];
  const supplementalGroups = [...new Set([gid, ...fromImage, ...security.supplementalGroups])];
  return { uid: account.uid, gid, supplementalGroups, home: usableHome(account) };
}

/** The user of the request, else of the image, else root. A group of the image goes with the image's user only. */
function requestedUser({ security, imageUser }: UserRequest): { user: Identity; group?: Identity } {
  checkIds(security);
  const { runAsUser, runAsUsername } = security;
  if (runAsUser !== undefined && runAsUsername !== undefined) {
    throw new EngineError(
      'invalid-argument',
      'run_as_username: run_as_user is given as well, only one of them may be',
    );
  }
  if (runAsUser !== undefined) return { user: { kind: 'id', id: runAsUser } };
  if (runAsUsername !== undefined) {
    const { user, group } = parseUserReference(runAsUsername, 'run_as_username');
    if (user === undefined || group !== undefined) {
      throw new EngineError(
        'invalid-argument',
        `run_as_username: ${quote(runAsUsername)} is not a user name`,
      );
    }
    return { user };
  }
  return { user: { kind: 'id', id: 0 }, ...parseUserReference(imageUser, 'the image’s USER') };
}

function checkIds({ runAsUser, runAsGroup, runAsUsername, supplementalGroups }: ContainerSecurity): void {
  const ids: (readonly [string, number | undefined])[] = [
    ['run_as_user', runAsUser],
    ['run_as_group', runAsGroup],
    ...supplementalGroups.map((gid) => ['supplemental_groups', gid] as const),
  ];
  for (const [field, id] of ids) {
    if (id !== undefined && !isId(id)) {
      throw new EngineError('invalid-argument', `${field}: ${id} is not an id between 0 and ${maxId}`);
    }
  }
  if (runAsGroup !== undefined && runAsUser === undefined && runAsUsername === undefined) {
    throw new EngineError(
      'invalid-argument',
      'run_as_group: a group without run_as_user or run_as_username is not allowed',
    );
  }
}

function readAccountFile(
  deps: { readonly readFileInRoot: ReadFileInRoot },
  rootfs: string,
  path: string,
): string {
  return deps.readFileInRoot(rootfs, path, maxAccountFileBytes)?.toString('utf8') ?? '';
}

interface FoundUser {
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  /** Left out for a uid that /etc/passwd does not have. */
  readonly name?: string;
}

function findUser({ passwd }: AccountFiles, user: Identity): FoundUser {
  if (user.kind === 'id') {
    return findAccount(passwd, ({ uid }) => uid === user.id) ?? { uid: user.id, gid: 0, home: '' };
  }
  const account: Account | undefined = findAccount(passwd, ({ name }) => name === user.name);
  if (account === undefined) {
    throw new EngineError('invalid-argument', `user ${quote(user.name)} is not in the image’s /etc/passwd`);
  }
  return account;
}

function groupId({ group }: AccountFiles, wanted: Identity): number {
  if (wanted.kind === 'id') return wanted.id;
  const gid = findGroup(group, wanted.name);
  if (gid === undefined) {
    throw new EngineError('invalid-argument', `group ${quote(wanted.name)} is not in the image’s /etc/group`);
  }
  return gid;
}

/** CVE-2026-15809: HOME ends up in files of the container, where a control character makes lines of its own. */
function usableHome({ home }: FoundUser): string {
  return home.startsWith('/') && !hasControlCharacter(home) ? home : '/';
}
