import type { Attributes } from '@opentelemetry/api';
import type { RapClientOperation, RapOperation, RapServerOperation } from '../../diagnostics/messages.js';
import type { MethodName } from '../method-names.js';
import { OTHER } from '../method-names.js';

// Names of OpenTelemetry's semantic conventions for RPC, stable since 1.45. They are written here, not imported: the package
// of the conventions is no dependency for eight words.
const SYSTEM = 'rpc.system.name';
const METHOD = 'rpc.method';
const METHOD_ORIGINAL = 'rpc.method_original';
const STATUS = 'rpc.status_code';
const ERROR = 'error.type';
const SERVER_ADDRESS = 'server.address';
const SERVER_PORT = 'server.port';

const RAP = 'rap';

/** The name of a span: that of the function, or of the system for one that is not known. */
export function spanNameOf({ full }: MethodName): string {
  return full === OTHER ? RAP : full;
}

/** What is known when a call begins. */
export function methodOf({ full }: MethodName): Attributes {
  return { [SYSTEM]: RAP, [METHOD]: full };
}

/** What only spans tell of a function that is not known: a peer may send any name. */
export function originalOf({ target }: RapOperation): Attributes {
  return { [METHOD_ORIGINAL]: target };
}

export function isKnown({ full }: MethodName): boolean {
  return full !== OTHER;
}

/** What is known when it has ended. */
export function outcomeOf(outcome: string, hasFailed: boolean): Attributes {
  return hasFailed ? { [STATUS]: outcome, [ERROR]: outcome } : { [STATUS]: outcome };
}

/** The server that a client has called: `host:port`, `[host]:port`, or the path of a Unix socket; nothing if that is not known. */
export function serverOf({ server }: Pick<RapClientOperation, 'server'>): Attributes {
  if (isPath(server)) return { [SERVER_ADDRESS]: server };
  const [, ipv6, host = ipv6, port] = ONE_SERVER.exec(server) ?? [];
  return host === undefined ? {} : { [SERVER_ADDRESS]: host, [SERVER_PORT]: Number(port) };
}

/** Of several servers, messages name all until one is chosen. */
const ONE_SERVER = /^(?:\[([^\],\s]+)\]|([^\s,:/]+)):(\d+)$/;

function isPath(server: string): boolean {
  return server.includes('/') && !/[,\s]/.test(server);
}

/** The server that was called, from the end of its connection. */
export function ownServerOf({ connection: { local } }: RapServerOperation): Attributes {
  const { address, port } = local;
  return port === 0 ? { [SERVER_ADDRESS]: address } : { [SERVER_ADDRESS]: address, [SERVER_PORT]: port };
}

/** The client of a call that came in. */
export function callerOf({ connection: { remote } }: RapServerOperation): Attributes {
  const { address, port } = remote;
  return port === 0
    ? { 'network.peer.address': address }
    : { 'network.peer.address': address, 'network.peer.port': port };
}

/** Outcomes that a server is not to blame for: its caller is. */
const OF_CALLERS: ReadonlySet<string> = new Set([
  'AUTH',
  'FUNC_NOT_FOUND',
  'TOO_MANY_REQUESTS',
  'DRAINING',
  'PARSE',
  'PROTOCOL',
  'CHANNEL',
  'CHANNEL_LIFE_CYCLE',
  'LIFE_CYCLE',
  'CRYPTO',
  'CALL_CANCELLED',
  'CONNECTION_LOST',
]);

/** Whether a server has failed: not if its caller made a mistake, or has gone. */
export function hasServerFailed({ outcome = '', error }: RapServerOperation): boolean {
  if (error === undefined || OF_CALLERS.has(outcome)) return false;
  const { httpStatus } = error as { httpStatus?: unknown };
  return typeof httpStatus !== 'number' || httpStatus >= 500;
}
