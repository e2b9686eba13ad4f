import { createHook } from 'node:async_hooks';
import { jest } from '@jest/globals';
import { MessageView } from '../../lib/pipeline/message-view.js';
import { Exchange } from '../../lib/pipeline/exchange.js';
import type { RapProcessor } from '../../lib/index.js';
import { testScope } from '../helpers/async.js';
import { all, forget, Things } from './handlers.js';

const scope = testScope();
beforeEach(forget);
afterEach(() => jest.restoreAllMocks());

const CALLS = 50;
const noop = (): RapProcessor => ({ processRequest: () => {}, processResponse: () => {} });

/** How often the pipeline is entered while `work` runs. */
async function pipelineWork(work: () => Promise<unknown>): Promise<number> {
  const spies = [
    ...(['begin', 'request', 'response', 'message', 'exit'] as const).map((name) =>
      jest.spyOn(Exchange.prototype, name),
    ),
    jest.spyOn(MessageView.prototype, 'outcome', 'get'),
  ];
  await work();
  return spies.reduce((sum, { mock }) => sum + mock.calls.length, 0);
}

/** Promises that are made while `work` runs. */
async function promises(work: () => Promise<unknown>): Promise<number> {
  let count = 0;
  const hook = createHook({
    init(_id, type) {
      if (type === 'PROMISE') count += 1;
    },
  }).enable();
  await work();
  hook.disable();
  return count;
}

it('calls, streams and events do not touch the pipeline if nothing is loaded', async () => {
  const runs: number[] = [];
  for (const processors of [[], [noop()]]) {
    const test = await scope.serve([Things], { processors });
    const client = test.client({ processors });
    runs.push(
      await pipelineWork(async () => {
        for (let i = 0; i < CALLS; i++) await client.call('echo', i);
        await all(client.stream('count', CALLS));
        client.emit('happened', 1);
        await client.call('echo', 1);
      }),
    );
    jest.restoreAllMocks();
  }
  expect(runs[0]).toBe(0);
  expect(runs[1]).toBeGreaterThan(CALLS * 6); // the count can count
});

it('a processor that works at once costs no promise', async () => {
  const measure = async (processors: RapProcessor[]): Promise<number> => {
    const test = await scope.serve([Things], { processors });
    const client = test.client({ processors });
    const calls = async (): Promise<void> => {
      for (let i = 0; i < CALLS; i++) await client.call('echo', i);
    };
    await calls();
    return promises(calls);
  };
  const without = await measure([]);
  const withNoop = await measure([noop(), noop(), noop()]);
  const withAsync = await measure([{ processRequest: async () => {} }]);
  // what the process does beside the calls is noise of a few promises
  expect(withNoop - without).toBeLessThan(CALLS / 2);
  expect(withAsync - without).toBeGreaterThan(CALLS * 2); // the count can count
});

it('copies no header that nobody looks at', async () => {
  const headers: boolean[] = [];
  const test = await scope.serve([Things], {
    processors: [noop(), { processResponse: (it) => void headers.push((it as MessageView).isTouched) }],
  });
  await test.client().call('echo', 1);
  expect(headers).toEqual([false]);
});
