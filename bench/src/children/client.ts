import { measure } from '../measure.js';
import { isPeerName, peers } from '../peers.js';
import { isScenarioName, type Lane, type Scenario, scenarios } from '../scenarios.js';
import { isRunRequest } from './messages.js';
import { serve } from './serve.js';

const [peerName = '', scenarioName = '', port = ''] = process.argv.slice(2);

/** Ready when connected; answers a run request with a measurement. */
await serve(async () => {
  if (!isPeerName(peerName)) throw new Error(`No peer is called ${peerName}`);
  if (!isScenarioName(scenarioName)) throw new Error(`No scenario is called ${scenarioName}`);
  const scenario: Scenario = scenarios[scenarioName];
  const peer = await peers[peerName].load();
  const client = await peer.connect(Number(port));
  const lanes: Lane[] = [];
  for (let i = 0; i < scenario.lanes; i++) lanes.push(await scenario.openLane(client));

  return {
    ready: null,
    answer(question) {
      if (!isRunRequest(question)) throw new Error(`Not a run request: ${JSON.stringify(question)}`);
      return measure({ lanes, seconds: question.seconds, sampleEvery: scenario.sampleEvery });
    },
  };
});
