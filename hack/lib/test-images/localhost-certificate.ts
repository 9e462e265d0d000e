/** A certificate for localhost that no one trusts, for test servers that speak TLS. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Made once and kept in the cache folder, so that the image that holds it is the same each time. */
export function localhostCertificate(): { readonly certificate: Buffer; readonly key: Buffer } {
  const cache = join(
    process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
    'gantry/localhost-certificate',
  );
  const certificate = join(cache, 'localhost.crt');
  const key = join(cache, 'localhost.key');
  if (!existsSync(certificate)) {
    mkdirSync(cache, { recursive: true });
    const made = `${certificate}.part`;
    const names = 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1';
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '36500', '-subj', '/CN=localhost'].concat([
        '-addext',
        names,
        '-keyout',
        key,
        '-out',
        made,
      ]),
      { stdio: 'pipe' },
    );
    renameSync(made, certificate);
  }
  return { certificate: readFileSync(certificate), key: readFileSync(key) };
}
