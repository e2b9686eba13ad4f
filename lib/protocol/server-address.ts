/** The address of a server: a TCP host and port, or the path of a Unix socket. */
export interface HostAndPort {
  /** Host name or address. Default `localhost`, as Python's rap. */
  readonly host?: string | undefined;
  /** TCP port. Default 9000, as Python's rap. */
  readonly port?: number | undefined;
  /** Path of a Unix socket; host and port are not used then. */
  readonly path?: string | undefined;
}

export const DEFAULT_HOST = 'localhost';
export const DEFAULT_PORT = 9000;

/** The address as text, which tells servers apart: `host:port`, `[host]:port` for IPv6, or the path. */
export function addressText({ host = DEFAULT_HOST, port = DEFAULT_PORT, path }: HostAndPort): string {
  return path ?? (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
}
