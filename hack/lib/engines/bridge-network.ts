import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface BridgeNetwork {
  readonly name: string;
  readonly bridge: string;
  readonly subnet: string;
}

/** Writes a CNI list of the kind that Gantry has built in (a bridge with masquerade, host ports), as the first of the folder. */
export function writeBridgeNetwork(directory: string, { name, bridge, subnet }: BridgeNetwork): void {
  mkdirSync(directory, { recursive: true });
  const ipam = { type: 'host-local', ranges: [[{ subnet }]], routes: [{ dst: '0.0.0.0/0' }] };
  const plugins = [
    { type: 'bridge', bridge, isGateway: true, ipMasq: true, hairpinMode: true, ipam },
    { type: 'portmap', capabilities: { portMappings: true } },
  ];
  const list = { cniVersion: '1.0.0', name, plugins };
  writeFileSync(join(directory, '10-bridge.conflist'), JSON.stringify(list));
}
