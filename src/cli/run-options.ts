/** The options of `gantry run`, read. Pure. */
import { isAbsolute, normalize } from 'node:path';
import { InvalidArgumentError } from 'commander';

export interface PublishedPort {
  readonly hostIp: string;
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
}

export interface Variable {
  readonly name: string;
  readonly value: string;
}

export interface HostMount {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly readonly: boolean;
}

const portPattern =
  /^(?:(?<ip>\[[0-9a-fA-F:.]+\]|\d+(?:\.\d+){3}):)?(?<host>\d+):(?<container>\d+)(?:\/(?<protocol>\w+))?$/;

/** `[IP:]HOST:CONTAINER[/tcp|udp|sctp]`. @throws InvalidArgumentError */
export function parsePort(text: string): PublishedPort {
  const groups = portPattern.exec(text)?.groups;
  const hostPort = readPort(groups?.['host']);
  const containerPort = readPort(groups?.['container']);
  const protocol = groups?.['protocol'] ?? 'tcp';
  const isProtocol = protocol === 'tcp' || protocol === 'udp' || protocol === 'sctp';
  if (hostPort === undefined || containerPort === undefined || !isProtocol)
    throw new InvalidArgumentError(
      'It must be [IP:]HOST:CONTAINER[/udp], two ports from 1 to 65535, such as 8080:80.',
    );
  return { hostIp: (groups?.['ip'] ?? '').replaceAll(/[[\]]/g, ''), hostPort, containerPort, protocol };
}

/** `NAME=VALUE`, or `NAME` for the value that it has here. @throws InvalidArgumentError */
export function parseVariable(text: string, environment: NodeJS.ProcessEnv = process.env): Variable {
  const at = text.indexOf('=');
  const name = at === -1 ? text : text.slice(0, at);
  const value = at === -1 ? environment[name] : text.slice(at + 1);
  if (name === '') throw new InvalidArgumentError('It must be NAME=VALUE.');
  if (value === undefined) throw new InvalidArgumentError(`${name} is not set here: give NAME=VALUE.`);
  return { name, value };
}

/** `HOST:CONTAINER[:ro|rw]`, both absolute. @throws InvalidArgumentError */
export function parseVolume(text: string): HostMount {
  const [hostPath = '', containerPath = '', mode = 'rw', ...rest] = text.split(':');
  const isRight =
    isAbsolute(hostPath) &&
    isAbsolute(containerPath) &&
    (mode === 'ro' || mode === 'rw') &&
    rest.length === 0;
  if (!isRight)
    throw new InvalidArgumentError(
      'It must be HOST:CONTAINER[:ro], two absolute paths, such as /srv/www:/www:ro.',
    );
  return { hostPath: normalize(hostPath), containerPath: normalize(containerPath), readonly: mode === 'ro' };
}

/** A pod's name made of its image's: `registry/team/web:1` becomes `web-` and a few digits. */
export function nameOfImage(reference: string, digits: string): string {
  const base = reference
    .replace(/@.*$/, '')
    .replace(/:[^/]*$/, '')
    .replace(/^.*\//, '');
  const plain = base
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 40)
    .replaceAll(/^-+|-+$/g, '');
  return `${plain === '' ? 'pod' : plain}-${digits}`;
}

function readPort(text: string | undefined): number | undefined {
  const port = Number(text);
  return Number.isInteger(port) && port >= 1 && port <= 65535 ? port : undefined;
}
