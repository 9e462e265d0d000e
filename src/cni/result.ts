/** Results of plugins: read from any version, held in the shape of 1.1.0, written in the version of a list. */
import { z } from 'zod';
import type { CniResult } from './plugin-types.ts';
import { currentVersion, isAtLeast, spokenVersions } from './versions.ts';

const list = <T extends z.ZodType>(item: T) =>
  z
    .array(item)
    .nullish()
    .transform((value) => value ?? []);
const text = z
  .string()
  .nullish()
  .transform((value) => (value === null || value === '' ? undefined : value));
const count = z.number().int().min(0);
const address = z.union([z.cidrv4(), z.cidrv6()], 'must be an address with a prefix length');

// Loose where the protocol grows: keys that are not known here (socketPath, pciID) are handed to the next plugin.
const resultSchema = z.object({
  cniVersion: z.string().optional(),
  interfaces: list(z.looseObject({ name: z.string(), mac: text, mtu: count.optional(), sandbox: text })),
  ips: list(z.object({ interface: count.nullish(), address, gateway: text })),
  routes: list(
    z.looseObject({
      dst: address,
      gw: text,
      mtu: count.optional(),
      advmss: count.optional(),
      priority: count.optional(),
      table: count.optional(),
      scope: count.optional(),
    }),
  ),
  dns: z
    .object({
      nameservers: list(z.string()),
      domain: text,
      search: list(z.string()),
      options: list(z.string()),
    })
    .nullish(),
});

/**
 * Reads a success result. One that does not say its version has that of the request.
 *
 * @throws Error that names the key at fault
 */
export function readResult(value: unknown, requestVersion: string): CniResult {
  const verdict = resultSchema.safeParse(value);
  if (!verdict.success) {
    const faults = verdict.error.issues.map(
      (issue) => `${issue.path.join('.') || 'result'}: ${issue.message}`,
    );
    throw new Error(faults.join('; '));
  }
  const { cniVersion = requestVersion, interfaces, ips, routes, dns } = verdict.data;
  if (!spokenVersions.includes(cniVersion)) {
    throw new Error(
      `result of CNI version ${JSON.stringify(cniVersion)} (known: ${spokenVersions.join(', ')})`,
    );
  }
  const faulty = ips.find((ip) => typeof ip.interface === 'number' && ip.interface >= interfaces.length);
  if (faulty !== undefined)
    throw new Error(`address ${faulty.address}: interface ${faulty.interface} is not in the result`);
  return withoutUndefined({
    cniVersion: currentVersion,
    interfaces,
    ips: ips.map((ip) => ({ ...ip, interface: ip.interface ?? undefined })),
    routes,
    dns: dns ?? {},
  }) as CniResult;
}

/** The same result as a document of `version`; empty parts are left out, as plugins write them. */
export function writeResult(result: CniResult, version: string): Record<string, unknown> {
  const isModern = isAtLeast(version, '1.0.0');
  const interfaces = result.interfaces.map((entry) =>
    isModern ? entry : withoutUndefined({ name: entry.name, mac: entry.mac, sandbox: entry.sandbox }),
  );
  const ips = result.ips.map((ip) =>
    isModern ? ip : { version: ip.address.includes(':') ? '6' : '4', ...ip },
  );
  return {
    cniVersion: version,
    ...(interfaces.length === 0 ? {} : { interfaces }),
    ...(ips.length === 0 ? {} : { ips }),
    ...(result.routes.length === 0 ? {} : { routes: result.routes }),
    ...(Object.values(result.dns).some((part) => part !== undefined && part.length > 0)
      ? { dns: result.dns }
      : {}),
  };
}

/** A plain copy of JSON data in which keys without a value do not exist. */
function withoutUndefined(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
