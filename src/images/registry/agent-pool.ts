/** Kept-alive connections, one set per TLS identity and proxy; shared by all pulls of the daemon. */
import { createHash } from 'node:crypto';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { createSecureContext, getCACertificates } from 'node:tls';
import { EngineError, messageOf } from '../../lib/errors.ts';
import { type Environment, proxyFor } from './proxy.ts';

/** How a host proves itself and how we do. PEM texts. */
export interface TlsSettings {
  /** Trusted besides the system's certificates. */
  readonly caPems: readonly string[];
  readonly clientPairs: readonly { readonly certPem: string; readonly keyPem: string }[];
  readonly skipVerify: boolean;
}

const maxAgents = 64;
// Longer than a manifest takes to be parsed, shorter than any registry or NAT forgets a connection.
const idleMs = 10_000;

export class AgentPool implements Disposable {
  readonly #agents = new Map<string, HttpAgent | HttpsAgent>();
  readonly #environment: Environment;

  /** `environment` names the proxies; it is read at each request. */
  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** @throws EngineError failed-precondition for certificates or a proxy URL that cannot be used */
  agentFor(url: URL, tls: TlsSettings): HttpAgent | HttpsAgent {
    const proxy = proxyFor(url, this.#environment);
    const secure = url.protocol === 'https:';
    const key = `${secure ? tlsKey(tls) : 'http'} ${proxy ?? ''}`;
    const known = this.#agents.get(key);
    if (known !== undefined) return known;
    const agent = this.#create(secure ? tls : undefined, proxy);
    this.#evict();
    this.#agents.set(key, agent);
    return agent;
  }

  [Symbol.dispose](): void {
    for (const agent of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }

  #create(tls: TlsSettings | undefined, proxy: string | undefined): HttpAgent | HttpsAgent {
    const shared = { keepAlive: true, timeout: idleMs };
    try {
      if (tls === undefined) {
        return new HttpAgent({
          ...shared,
          ...(proxy === undefined ? {} : { proxyEnv: { http_proxy: proxy } }),
        });
      }
      return new HttpsAgent({
        ...shared,
        ...(proxy === undefined ? {} : { proxyEnv: { https_proxy: proxy } }),
        secureContext: createSecureContext({
          ca: [...getCACertificates('default'), ...getCACertificates('system'), ...tls.caPems],
          cert: tls.clientPairs.map((pair) => pair.certPem),
          key: tls.clientPairs.map((pair) => pair.keyPem),
        }),
        rejectUnauthorized: !tls.skipVerify,
      });
    } catch (error) {
      throw new EngineError('failed-precondition', `set up a registry connection: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  /** Certificates that were rotated leave an agent that nobody asks for: the oldest goes, its busy sockets end by themselves. */
  #evict(): void {
    if (this.#agents.size < maxAgents) return;
    const [oldest] = this.#agents.keys();
    if (oldest !== undefined) this.#agents.delete(oldest);
  }
}

function tlsKey(tls: TlsSettings): string {
  return createHash('sha256').update(JSON.stringify(tls)).digest('hex');
}
