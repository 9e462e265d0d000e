/** Which entry of an index this machine runs. */
import { EngineError } from '../lib/errors.ts';
import type { Descriptor, ImageIndex, Platform } from './manifest.ts';

const architectures: Readonly<Record<string, Platform>> = {
  x64: { os: 'linux', architecture: 'amd64' },
  arm64: { os: 'linux', architecture: 'arm64', variant: 'v8' },
  arm: { os: 'linux', architecture: 'arm', variant: 'v7' },
  ia32: { os: 'linux', architecture: '386' },
  ppc64: { os: 'linux', architecture: 'ppc64le' },
  riscv64: { os: 'linux', architecture: 'riscv64' },
  s390x: { os: 'linux', architecture: 's390x' },
};

/** The platform of this machine, in the words of images. */
export function hostPlatform(): Platform {
  return architectures[process.arch] ?? { os: 'linux', architecture: process.arch };
}

const aliases: Readonly<Record<string, string>> = {
  x86_64: 'amd64',
  'x86-64': 'amd64',
  aarch64: 'arm64',
  armhf: 'arm',
  i386: '386',
};

/** Newest first: a v7 machine runs v6 images, not the other way round. */
const armVariants = ['v8', 'v7', 'v6', 'v5'];
const amd64Variants = ['v4', 'v3', 'v2', 'v1'];

/**
 * The best entry for `wanted`: same system and architecture, the newest variant that it runs, the first of equals.
 * Entries without a platform and those for `unknown` (attestations) are never an image.
 * @throws EngineError not-found that lists what there is
 */
export function choosePlatform(index: ImageIndex, wanted: Platform, name: string): Descriptor {
  let best: { entry: Descriptor; rank: number } | undefined;
  for (const entry of index.manifests) {
    const rank = entry.platform === undefined ? undefined : variantRank(entry.platform, wanted);
    if (rank !== undefined && (best === undefined || rank < best.rank)) best = { entry, rank };
  }
  if (best !== undefined) return best.entry;
  const [only] = index.manifests;
  if (only !== undefined && index.manifests.length === 1 && only.platform === undefined) return only;
  throw new EngineError(
    'not-found',
    `${name}: no image for ${platformText(wanted)} (it has ${listPlatforms(index) || 'none'})`,
  );
}

/** True when an image made for `image` runs on a machine of `wanted`. */
export function runsOn(image: Platform, wanted: Platform): boolean {
  return variantRank(image, wanted) !== undefined;
}

/** `linux/arm64/v8`. */
export function platformText(platform: Platform): string {
  return [platform.os, platform.architecture, platform.variant]
    .filter((part) => part !== undefined && part !== '')
    .join('/');
}

/** How far below the machine's own variant the image is (0 is best), or undefined when it cannot run. */
function variantRank(image: Platform, wanted: Platform): number | undefined {
  const architecture = normalArchitecture(image.architecture);
  if (image.os.toLowerCase() !== wanted.os || architecture !== normalArchitecture(wanted.architecture)) {
    return undefined;
  }
  const order = variantOrder(architecture);
  const own = variantPosition(order, wanted.variant, architecture);
  const other = variantPosition(order, image.variant, architecture);
  if (own === undefined || other === undefined) return image.variant === wanted.variant ? 0 : undefined;
  return other >= own ? other - own : undefined;
}

function variantOrder(architecture: string): readonly string[] {
  if (architecture === 'arm') return armVariants;
  return architecture === 'amd64' ? amd64Variants : ['v8'];
}

function variantPosition(
  order: readonly string[],
  variant: string | undefined,
  architecture: string,
): number | undefined {
  const fallback = architecture === 'arm' ? 'v7' : (order.at(-1) ?? '');
  const text = variant === undefined || variant === '' ? fallback : variant.toLowerCase();
  const position = order.indexOf(text.startsWith('v') ? text : `v${text}`);
  return position === -1 ? undefined : position;
}

function normalArchitecture(architecture: string): string {
  const lower = architecture.toLowerCase();
  return aliases[lower] ?? lower;
}

function listPlatforms(index: ImageIndex): string {
  const texts = index.manifests
    .flatMap((entry) => (entry.platform === undefined ? [] : [entry.platform]))
    .filter((platform) => platform.os !== 'unknown')
    .map(platformText);
  return [...new Set(texts)].slice(0, 16).join(', ');
}
