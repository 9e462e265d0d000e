/** Images -> the wire. */
import type { FilesystemUsage, Image as WireImage } from '../../gen/runtime/v1/api.ts';
import type { ImageFsInfo } from '../../images/image-fs-info.ts';
import type { Image } from '../../images/image-record.ts';

export function imageToWire(image: Image): WireImage {
  const [user = ''] = image.config.user.split(':');
  // Digits are a uid, never a name: runAsNonRoot is decided by it (CVE-2024-40635).
  const isUid = /^\d+$/.test(user);
  return {
    id: image.id,
    repoTags: [...image.repoTags],
    repoDigests: [...image.repoDigests],
    size: BigInt(image.sizeBytes),
    uid: isUid ? { value: clampedUid(user) } : user === '' ? { value: 0n } : undefined,
    username: isUid ? '' : user,
    spec: { image: image.id, annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' },
    pinned: image.pinned,
  };
}

const highestInt64 = 2n ** 63n - 1n;

/** A number that does not fit stays a number that no check takes for root; creating a container of it is refused. */
function clampedUid(digits: string): bigint {
  const value = BigInt(digits);
  return value > highestInt64 ? highestInt64 : value;
}

export function imageFsToWire(info: ImageFsInfo): FilesystemUsage {
  return {
    timestamp: BigInt(Math.round(info.timestampMs)) * 1_000_000n,
    fsId: { mountpoint: info.mountpoint },
    usedBytes: { value: BigInt(info.usedBytes) },
    inodesUsed: { value: BigInt(info.usedInodes) },
  };
}
