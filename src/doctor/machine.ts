/** The machine in a few words, for people who read a report from elsewhere. */
import { cpu, mem, osInfo, system } from 'systeminformation';

export interface Machine {
  readonly distribution: string;
  readonly kernel: string;
  readonly architecture: string;
  readonly hardware: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
}

export async function describeMachine(): Promise<Machine> {
  const [os, hardware, processor, memory] = await Promise.all([osInfo(), system(), cpu(), mem()]);
  return {
    distribution: [os.distro, os.release, os.codename === '' ? '' : `(${os.codename})`]
      .filter(Boolean)
      .join(' '),
    kernel: os.kernel,
    architecture: os.arch,
    hardware: [hardware.manufacturer, hardware.model].filter(Boolean).join(' ') || 'unknown',
    cpu: [processor.manufacturer, processor.brand].filter(Boolean).join(' ') || 'unknown',
    cores: processor.cores,
    memoryBytes: memory.total,
  };
}
