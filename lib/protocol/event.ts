/** Targets of the events that run the connection itself (message types 103 and 203). */
export const EventTarget = {
  Declare: '/_event/DECLARE',
  Ping: '/_event/ping',
  Drop: '/_event/DROP',
  Close: '/_event/CLOSE',
  Shutdown: '/_event/shutdown',
  ServerError: '/_event/Server Error',
  Cancel: '/_event/cancel',
  SessionClose: '/_event/session_close',
  EventEnd: '/_event/event_end',
  Load: '/_event/load',
} as const;

/** Version of the protocol that Python's rap names in DECLARE. */
export const PROTOCOL_VERSION = '0.1';

/** Reasons that CLOSE carries. The first three are texts of Python's rap, which its clients know. */
export const CloseReason = {
  TooManyConnections: 'Currently exceeding the maximum number of connections limit',
  TooManyConnectionsOfAddress: 'Currently exceeding the maximum number of ip conn limit',
  NotAllowed: 'not allowed to access',
  Refused: 'the connection was refused',
  PongTimeout: 'recv pong timeout',
  TooManyPings: 'too many pings',
  IncompleteFrame: 'incomplete frame',
  IdleTimeout: 'idle timeout',
  ExcessiveResets: 'excessive resets',
  ExcessiveRejects: 'excessive rejected frames',
  Shutdown: 'server shutdown',
} as const;

/** `client_info` and `server_info` of DECLARE. */
export interface PeerInfo {
  readonly host: readonly [ip: string, port: number];
  readonly version: string;
  readonly user_agent: string;
}
