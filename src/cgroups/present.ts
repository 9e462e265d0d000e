type Optional<T> = { readonly [K in keyof T]: T[K] | undefined };

/** Drops what is undefined. */
export function present<T extends object>(values: Optional<T>): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}
