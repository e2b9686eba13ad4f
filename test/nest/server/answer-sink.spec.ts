import { concatMap, from, Observable, of, range } from 'rxjs';
import { AnswerSink } from '../../../lib/nest/server/answer-sink.js';
import type { Route } from '../../../lib/nest/handlers/handler.js';
import { pumpObservable } from '../../../lib/nest/streams/observable-source.js';
import { Fault } from '../../../lib/protocol/fault.js';
import { ChannelPair, readable } from '../../helpers/channel/channel-pair.js';
import { requestOf } from '../../helpers/peer-pair.js';
import { Counter, numbers } from '../streams/sources.js';

describe('the values of a call', () => {
  let pair: ChannelPair;
  beforeEach(() => {
    pair = new ChannelPair().open();
  });
  afterEach(() => pair.end());

  const route = { target: '/default/x' } as Route;
  const circular: Record<string, unknown> = {};
  circular['self'] = circular;

  /** A call whose answer is an Observable's values. Returns what the caller reads, and what came of it. */
  async function answer(values: Observable<unknown>): Promise<{ items: unknown[]; outcome: unknown }> {
    const outcomes: unknown[] = [];
    const items: unknown[] = [];
    let fault: unknown;
    pair.client.call(requestOf(), {
      resolve: (body) => outcomes.push({ value: body }),
      reject: (error) => outcomes.push(error),
      stream(channel) {
        outcomes.push('stream');
        channel.whenClosed(() => {
          items.push(...readable(channel));
          fault = channel.fault;
        });
      },
    });
    pair.flow();
    const call = pair.serverOwner.call();
    const sink = new AnswerSink(call, route);
    try {
      await pumpObservable(values, sink);
      const single = sink.end();
      if (single) call.reply(single.value);
    } catch (error) {
      call.fail(error as Fault, 'RapError');
    }
    call.ended();
    pair.flow();
    expect(outcomes).toHaveLength(1);
    return { items, outcome: fault ?? outcomes[0] };
  }

  it('are a void answer, one value, or a stream', async () => {
    expect(await answer(of())).toEqual({ items: [], outcome: { value: null } });
    expect(await answer(of(7))).toEqual({ items: [], outcome: { value: 7 } });
    expect(await answer(of(7, 8))).toEqual({ items: [7, 8], outcome: 'stream' });
    expect(await answer(range(0, 100))).toEqual({ items: numbers(100), outcome: 'stream' });
    expect(await answer(of(1).pipe(concatMap(() => new Counter(3).async())))).toEqual({
      items: numbers(3),
      outcome: 'stream',
    });
  });

  it('are a stream for every generator, whatever it yields', async () => {
    expect(await answer(of(new Counter(1).async()))).toEqual({ items: [0], outcome: 'stream' });
    expect(await answer(of(new Counter(0).async()))).toEqual({ items: [], outcome: 'stream' });
    expect(await answer(of(5, new Counter(2).async()))).toEqual({ items: [5, 0, 1], outcome: 'stream' });
  });

  it('are an error if one cannot be sent, the first like any other', async () => {
    for (const values of [[1, circular, 2], [circular, 1, 2], [circular]]) {
      const { items, outcome } = await answer(from(values));
      expect(outcome).toBeInstanceOf(Fault);
      expect(items).toEqual(values.slice(0, values.indexOf(circular)));
    }
  });
});
