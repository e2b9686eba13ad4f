import type { Peer } from './peer.js';

interface PeerEntry {
  /** Text for the chart's legend. */
  readonly description: string;
  /** Loaded only in the peer's own processes: a peer that fails to load does not affect the others. */
  load(): Promise<Peer>;
}

/** All peers. A new one is a file in peers/ and an entry here; scenarios.ts lists the scenarios in which it takes part. */
export const peers = {
  'rap-call': {
    description: 'rap, client.call(): a Promise',
    load: async () => (await import('./peers/rap.js')).rapCall,
  },
  'rap-service': {
    description: "rap, a contract's proxy: client.service(S).sum()",
    load: async () => (await import('./peers/rap.js')).rapService,
  },
  'rap-send': {
    description: 'rap, client.send(): an Observable',
    load: async () => (await import('./peers/rap.js')).rapSend,
  },
  'rap-processor': {
    description: 'rap-call with a processor that does nothing on either side',
    load: async () => (await import('./peers/rap-plugins.js')).rapProcessor,
  },
  'rap-tls': {
    description: 'rap-call over TLS 1.2, AES-128-GCM',
    load: async () => (await import('./peers/rap-plugins.js')).rapTls,
  },
  'rap-aead': {
    description: 'rap-call, encrypted by CryptoProcessor',
    load: async () => (await import('./peers/rap-plugins.js')).rapAead,
  },
  'rap-prometheus': {
    description: 'rap-call with metrics: collectRapMetrics()',
    load: async () => (await import('./peers/rap-telemetry.js')).rapPrometheus,
  },
  'rap-traced': {
    description: 'rap-call with OpenTelemetry: metrics, and traces of one call of a hundred',
    load: async () => (await import('./peers/rap-telemetry.js')).rapTraced,
  },
  'rap-traced-all': {
    description: 'rap-call with OpenTelemetry: metrics, and traces of all calls',
    load: async () => (await import('./peers/rap-telemetry.js')).rapTracedAll,
  },
  rap: {
    description: 'rap, stream() and channel()',
    load: async () => (await import('./peers/rap.js')).rap,
  },
  'nest-tcp': {
    description: 'Nest TCP, string pattern',
    load: async () => (await import('./peers/nest-tcp.js')).nestTcp,
  },
  'nest-tcp-object': {
    description: 'Nest TCP, object pattern',
    load: async () => (await import('./peers/nest-tcp.js')).nestTcpObject,
  },
  'nest-tcp-batched': {
    description: 'Nest TCP, the producer tuned by hand to the socket',
    load: async () => (await import('./peers/nest-tcp.js')).nestTcpBatched,
  },
  'nest-grpc': {
    description: 'Nest gRPC',
    load: async () => (await import('./peers/nest-grpc.js')).nestGrpc,
  },
  'nest-grpc-tuned': {
    description: 'Nest gRPC, streams tuned by hand to grpc-js',
    load: async () => (await import('./peers/nest-grpc.js')).nestGrpcTuned,
  },
  raw: {
    description: 'bare sockets and msgpackr, no framework',
    load: async () => (await import('./peers/raw.js')).raw,
  },
} satisfies Record<string, PeerEntry>;

export type PeerName = keyof typeof peers;

export const peerNames = Object.keys(peers).filter(isPeerName);

/** The peer that all others are divided by. */
export const REFERENCE: PeerName = 'nest-tcp';

export function isPeerName(name: string): name is PeerName {
  return Object.hasOwn(peers, name);
}
