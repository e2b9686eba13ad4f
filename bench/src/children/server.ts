import { isPeerName, peers } from '../peers.js';
import { produced } from '../texts.js';
import { liveBytes, ownCpuUs } from '../usage.js';
import type { Usage } from './messages.js';
import { serve } from './serve.js';

const [peerName = ''] = process.argv.slice(2);

/** Ready with its port. */
await serve(async () => {
  if (!isPeerName(peerName)) throw new Error(`No peer is called ${peerName}`);
  const peer = await peers[peerName].load();
  return {
    ready: await peer.startServer(),
    answer(request) {
      switch (request.ask) {
        case 'usage':
          return { cpuUs: ownCpuUs(), items: produced.texts } satisfies Usage;
        case 'liveBytes':
          return liveBytes();
        case 'reset':
          produced.texts = 0;
          return null;
        default:
          throw new Error(`Not a request to a server: ${request.ask}`);
      }
    },
  };
});
