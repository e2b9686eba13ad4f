import { ownCopy } from '../../protocol/values/own-property.js';
import { isRecord } from '../../protocol/values/unknown.js';
import { PROTOCOL_VERSION, type PeerInfo } from '../../protocol/event.js';
import { agreedExtensions, type AgreedExtensions, type ExtensionOffer } from '../../protocol/extension.js';
import type { RemoteAddress } from '../../protocol/link.js';

const USER_AGENT = 'nestjs-rap/0.1';

/** What DECLARE or its answer says about the peer. Untrusted input. */
export interface Declared {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly connectionId: string | undefined;
  readonly agreed: AgreedExtensions;
}

/** `[103, 3, {target: "/_event/DECLARE"}, {client_info, metadata, extensions}]` */
export function declareBody(local: RemoteAddress, metadata: object, offer: ExtensionOffer): object {
  return { client_info: infoOf(local), metadata, extensions: offer };
}

/** `[103, 3, {}, {conn_id, server_info, extensions}]`; `extensions` is omitted if none was agreed. */
export function declareAnswer(
  local: RemoteAddress,
  connectionId: string,
  agreed: AgreedExtensions,
  offer: ExtensionOffer,
): object {
  const extensions = Object.fromEntries(Object.entries(offer).filter(([name]) => agreed.has(name)));
  return {
    conn_id: connectionId,
    server_info: infoOf(local),
    ...(agreed.size > 0 ? { extensions } : {}),
  };
}

/** Reads DECLARE or its answer. */
export function readDeclared(body: unknown, offer: ExtensionOffer): Declared {
  const declared = asRecord(body);
  const connectionId = declared['conn_id'];
  return {
    metadata: Object.freeze(ownCopy(asRecord(declared['metadata']))),
    connectionId: typeof connectionId === 'string' ? connectionId : undefined,
    agreed: agreedExtensions(offer, declared['extensions']),
  };
}

function infoOf({ address, port }: RemoteAddress): PeerInfo {
  return { host: [address, port], version: PROTOCOL_VERSION, user_agent: USER_AGENT };
}

/** Reads a map from a peer; anything else counts as an empty one. */
export function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {};
}
