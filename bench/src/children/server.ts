import { isPeerName, peers } from '../peers.js';
import { serve } from './serve.js';

const [peerName = ''] = process.argv.slice(2);

/** Ready with its port; answers every question with the CPU time it has used, in microseconds. */
await serve(async () => {
  if (!isPeerName(peerName)) throw new Error(`No peer is called ${peerName}`);
  const peer = await peers[peerName].load();
  return {
    ready: await peer.startServer(),
    answer: () => {
      const { user, system } = process.cpuUsage();
      return user + system;
    },
  };
});
