/**
 * Device numbers as glibc packs them (gnu_dev_makedev): 32 bits of major and of minor, interleaved. The kernel itself has no more than 12
 * and 20 of them.
 */
export interface DeviceNumbers {
  readonly major: number;
  readonly minor: number;
}

/** For mknod(2). */
export function packDevice(device: DeviceNumbers): bigint {
  const major = BigInt(device.major);
  const minor = BigInt(device.minor);
  return (minor & 0xffn) | ((major & 0xfffn) << 8n) | ((minor & ~0xffn) << 12n) | ((major & ~0xfffn) << 32n);
}

/** From `dev` and `rdev` of stat(2). */
export function deviceNumbers(packed: number | bigint): DeviceNumbers {
  const wide = BigInt(packed);
  return {
    major: Number(((wide >> 8n) & 0xfffn) | ((wide >> 32n) & ~0xfffn)),
    minor: Number((wide & 0xffn) | ((wide >> 12n) & ~0xffn & 0xffff_ffffn)),
  };
}
