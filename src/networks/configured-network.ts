/** Which network the pods get: the one that is configured, else what the template makes of the pod CIDR, else the built-in one. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LoadedNetworks } from '../cni/load-network-list.ts';
import { NetworkListWatcher } from '../cni/network-list-watcher.ts';
import { parseNetworkList, type NetworkList } from '../cni/network-list.ts';
import { EngineError, messageOf } from '../lib/errors.ts';
import { formatPrefix, networkOf, requirePrefix } from '../lib/ip-address.ts';
import type { Log } from '../telemetry/log.ts';
import { renderTemplate } from './conf-template.ts';
import type { DefaultNetwork } from './default-network.ts';

export interface ConfiguredNetworkOptions {
  readonly confDir: string;
  /** A template that is rendered into `confDir` when the pod CIDR is known; the built-in network is not used then. */
  readonly templatePath?: string | undefined;
  /** Undefined when the operator wants none: pods then wait for a configuration. */
  readonly defaultNetwork: DefaultNetwork | undefined;
  readonly onChange: () => void;
  /** What of a list keeps it from running in this process; undefined when nothing does. */
  readonly slowBecause: (list: NetworkList) => string | undefined;
  readonly log: Log;
}

const renderedName = '10-gantry.conflist';

export class ConfiguredNetwork implements Disposable {
  readonly #options: ConfiguredNetworkOptions;
  readonly #watcher: NetworkListWatcher;

  constructor(options: ConfiguredNetworkOptions) {
    const { confDir: directory, log, onChange } = options;
    this.#options = options;
    this.#watcher = new NetworkListWatcher({
      directory,
      onChange: (loaded) => {
        this.#report(loaded);
        onChange();
      },
      onPolling: (reason) =>
        log.warn(
          { directory, reason },
          'network configuration cannot be watched, it is read every 5 seconds',
        ),
    });
    this.#report(this.#watcher.loaded);
  }

  /** The network of the next pod. @throws EngineError unavailable that says why there is none */
  async current(): Promise<NetworkList> {
    const { list, faults, isEmpty } = this.#watcher.loaded;
    if (list !== undefined) return list;
    const { confDir, templatePath, defaultNetwork } = this.#options;
    if (!isEmpty)
      throw new EngineError(
        'unavailable',
        `no valid network configuration in ${confDir}: ${faults.join('; ')}`,
      );
    if (templatePath === undefined && defaultNetwork !== undefined) return await defaultNetwork.list();
    if (templatePath === undefined)
      throw new EngineError('unavailable', `no network configuration in ${confDir}`);
    throw new EngineError(
      'unavailable',
      `the pod CIDR is not known yet: ${templatePath} is rendered into ${confDir} when it is`,
    );
  }

  /**
   * Renders the template, or moves the built-in network. A configuration that somebody else wrote is left alone.
   *
   * @throws EngineError invalid-argument for a CIDR or a template that cannot be used
   */
  async setPodCidr(cidrs: readonly string[], signal?: AbortSignal): Promise<void> {
    const canonical = cidrs.map((cidr) => formatPrefix(networkOf(requirePrefix(cidr, 'pod CIDR'))));
    const [first] = canonical;
    if (first === undefined) return;
    const { confDir, templatePath, defaultNetwork, log } = this.#options;
    this.#watcher.reload();
    const { list, isEmpty } = this.#watcher.loaded;
    const rendered = join(confDir, renderedName);
    if (templatePath === undefined) {
      if (isEmpty && defaultNetwork !== undefined) await defaultNetwork.assign(canonical, signal);
      else log.debug({ cidrs: canonical }, 'pod CIDR left to the network configuration');
    } else if (list !== undefined && list.source !== rendered) {
      log.info({ source: list.source }, 'network is configured, the template is not rendered');
    } else {
      this.#render(templatePath, rendered, canonical);
    }
    this.#options.onChange();
  }

  [Symbol.dispose](): void {
    this.#watcher[Symbol.dispose]();
  }

  #render(templatePath: string, rendered: string, cidrs: readonly string[]): void {
    const families = [
      { family: '0.0.0.0/0', isUsed: cidrs.some((cidr) => !cidr.includes(':')) },
      { family: '::/0', isUsed: cidrs.some((cidr) => cidr.includes(':')) },
    ];
    const routes = families.filter(({ isUsed }) => isUsed).map(({ family }) => family);
    try {
      const template = readFileSync(templatePath, 'utf8');
      const text = renderTemplate(template, {
        PodCIDR: cidrs[0] ?? '',
        PodCIDRRanges: cidrs,
        Routes: routes,
      });
      parseNetworkList({ source: 'made from the template', text, siblings: () => [{ type: 'any' }] });
      mkdirSync(this.#options.confDir, { recursive: true, mode: 0o755 });
      // The suffix keeps the half-written file out of the directory's configurations.
      writeFileSync(`${rendered}.tmp`, text, { mode: 0o644 });
      renameSync(`${rendered}.tmp`, rendered);
    } catch (error) {
      const { kind } = EngineError.from(error);
      throw new EngineError(kind, `render the CNI template ${templatePath}: ${messageOf(error)}`, {
        cause: error,
      });
    }
    this.#watcher.reload();
  }

  #report({ list, faults, isEmpty }: LoadedNetworks): void {
    const { log, confDir } = this.#options;
    for (const fault of faults) log.warn({ fault }, 'network configuration is not usable');
    if (list !== undefined) {
      const program = this.#options.slowBecause(list);
      const runsBy = program === undefined ? 'this process' : `programs (${program})`;
      log.info({ network: list.name, source: list.source, runsBy }, 'network configuration loaded');
    } else if (isEmpty) log.info({ confDir }, 'no network configuration');
  }
}
