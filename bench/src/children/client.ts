import { isPeerName, peers } from '../peers.js';
import type { Scenario } from '../scenario.js';
import { isScenarioName, scenarios } from '../scenarios.js';
import { liveBytes, ownCpuUs } from '../usage.js';
import type { Usage } from './messages.js';
import { serve } from './serve.js';

const [peerName = '', scenarioName = '', port = ''] = process.argv.slice(2);

/** Ready when connected. */
await serve(async () => {
  if (!isPeerName(peerName)) throw new Error(`No peer is called ${peerName}`);
  if (!isScenarioName(scenarioName)) throw new Error(`No scenario is called ${scenarioName}`);
  const scenario: Scenario = scenarios[scenarioName];
  const peer = await peers[peerName].load();
  const runner = await scenario.prepare(await peer.connect(Number(port)));

  return {
    ready: null,
    answer(request) {
      switch (request.ask) {
        case 'run':
          return runner.run(request.seconds);
        case 'usage':
          return { cpuUs: ownCpuUs(), items: runner.itemsRead ?? null } satisfies Usage;
        case 'liveBytes':
          return liveBytes();
        default:
          throw new Error(`Not a request to a client: ${request.ask}`);
      }
    },
  };
});
