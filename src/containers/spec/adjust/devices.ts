import type { Device, DeviceRule, Spec } from '../../../oci/spec-types.ts';
import type { CdiEdits } from '../cdi.ts';
import { checkedDevice, ruleForDevice } from '../devices.ts';
import { invalidField } from '../invalid-field.ts';
import type { GrantedDevice } from '../spec-input.ts';
import { changedList } from './entries.ts';
import type { SpecAdjustment } from './spec-adjustment.ts';

/** The devices that CDI files add, as the spec's own are granted. */
export function cdiDevices(cdi: CdiEdits | undefined): GrantedDevice[] {
  return (cdi?.devices ?? []).map((grant) => checkedDevice(grant));
}

/** Nodes and rules after a change: what is added may be used in every way, beside what rules of the change say. */
export function adjustDevices(
  { linux }: Spec,
  { devices, deviceRules }: Pick<SpecAdjustment, 'devices' | 'deviceRules'>,
  fromCdi: readonly GrantedDevice[],
): { readonly devices: readonly Device[]; readonly rules: readonly DeviceRule[] } {
  const added = devices.set.map((device) => checkedDevice({ device, permissions: 'rwm' }));
  const granted = [...fromCdi, ...added];
  const nodes = changedList(linux.devices ?? [], ({ path }) => path, {
    remove: devices.remove,
    set: granted.map(({ device }) => device),
  });
  const rules = [
    ...(linux.resources?.devices ?? []),
    ...granted.filter(({ device }) => device.type !== 'p').map((grant) => ruleForDevice(grant)),
    ...deviceRules.map(checkedRule),
  ];
  return { devices: nodes, rules };
}

function checkedRule(rule: DeviceRule): DeviceRule {
  if (rule.access !== undefined && !/^[rwm]{1,3}$/.test(rule.access))
    throw invalidField('resources.devices', `${JSON.stringify(rule.access)} is not made of r, w and m`);
  return rule;
}
