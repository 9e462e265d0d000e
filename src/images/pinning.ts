/** Which images the configuration exempts from garbage collection. */
import { canonicalString, parseReference } from './reference.ts';

/** True for an image with one of these references. */
export type PinRule = (references: readonly string[]) => boolean;

/**
 * Patterns are references (`registry.k8s.io/pause:3.10`, `busybox`), or globs over full references in which `*`
 * stands for any characters (`registry.k8s.io/pause:*`).
 * @throws EngineError invalid-argument for a pattern without `*` that is no reference
 */
export function pinRule(patterns: readonly string[]): PinRule {
  const globs = patterns.filter((pattern) => pattern.includes('*')).map(globPattern);
  const exact = new Set(
    patterns
      .filter((pattern) => !pattern.includes('*'))
      .map((pattern) => canonicalString(parseReference(pattern))),
  );
  return (references) =>
    references.some((reference) => exact.has(reference) || globs.some((glob) => glob.test(reference)));
}

function globPattern(glob: string): RegExp {
  const parts = glob.split(/\*+/).map((part) => RegExp.escape(part));
  return new RegExp(`^${parts.join('.*')}$`);
}
