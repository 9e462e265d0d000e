/**
 * Tries whether the files of a folder can be mounted with other ids (usage: map-ids.ts FOLDER): a process of its own, for the
 * mount ends with it. Prints yes or no; what keeps it from trying is an error.
 */
import { SyscallError } from '../../../src/linux/errors.ts';
import { bindMount } from '../../../src/linux/mount.ts';
import { Poller } from '../../../src/linux/poll.ts';
import { enterPrivateMounts } from '../../../src/linux/private-mounts.ts';
import { startInUserNamespace } from '../../../src/linux/user-namespace.ts';

const [folder = '/'] = process.argv.slice(2);
const ids = [{ containerId: 0, hostId: 65_536, length: 65_536 }];
enterPrivateMounts();
await using poller = new Poller();
await using holder = await startInUserNamespace(poller, { uids: ids, gids: ids });
try {
  bindMount(folder, folder, { idsOf: `/proc/${holder.pid}/ns/user` });
  console.log('yes');
} catch (error) {
  if (!(error instanceof SyscallError && ['EINVAL', 'ENOSYS'].includes(error.code))) throw error;
  console.log('no');
}
