import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { lastValueFrom } from 'rxjs';
import { RapClient } from '../../../lib/index.js';
import { serve, type TestApp } from '../../helpers/app.js';
import { eventually, Gate } from '../../helpers/async.js';
import { TestFleet } from './test-fleet.js';

/** The clients of the service: of the fleet, another one of it, and one of the service itself. */
let orders: RapClient;
let others: RapClient;
let self: RapClient;
let gate: Gate;
let isPinned: Gate;

const ports = (client: RapClient): Promise<number[]> =>
  Promise.all(Array.from({ length: 9 }, () => client.call<number>('port')));

interface Seen {
  readonly pinned: number[];
  readonly other: number[];
  readonly after: number[];
  readonly below: number[];
}

/** A service whose handlers call the fleet. */
@Controller()
class GatewayController {
  @MessagePattern('pinned')
  async pinned(@Payload() exclusive: boolean): Promise<Seen> {
    const seen = await orders.withConnection(
      async () => {
        const pinned = await ports(orders);
        isPinned.open();
        await gate.opened;
        for await (const port of orders.stream<number>('ports', 1)) pinned.push(port);
        pinned.push(await lastValueFrom(orders.send<number>('port', undefined)));
        return { pinned, other: await ports(others), below: await self.call<number[]>('plain') };
      },
      { exclusive },
    );
    return { ...seen, after: await ports(orders) };
  }

  @MessagePattern('plain')
  plain(): Promise<number[]> {
    return ports(orders);
  }
}

let fleet: TestFleet;
let gateway: TestApp;
beforeEach(async () => {
  fleet = await TestFleet.start(3);
  gateway = await serve([GatewayController]);
  orders = await fleet.ready({ balancer: 'roundRobin' });
  others = await fleet.ready({ balancer: 'roundRobin' });
  self = gateway.client();
  gate = new Gate();
  isPinned = new Gate();
});
afterEach(async () => {
  await gateway.close();
  await fleet.close();
});

const connections = (): number => fleet.apps.reduce((sum, { server }) => sum + server.stats().connections, 0);

describe.each([false, true])('withConnection() in a handler; exclusive: %j', (exclusive) => {
  it('pins the calls of its handler, and no others', async () => {
    const caller = gateway.client();
    const seen = caller.call<Seen>('pinned', exclusive);
    await isPinned.opened;
    expect(connections()).toBe(exclusive ? 7 : 6);
    // another call of the same client to the same service, while the pin holds
    const beside = await caller.call<number[]>('plain');
    gate.open();
    const { pinned, other, below, after } = await seen;
    expect(new Set(pinned).size).toBe(1);
    expect(pinned).toHaveLength(11);
    // another client, a handler that was called inside, what comes after, and calls from outside
    for (const each of [other, below, after, beside, await ports(orders)]) {
      expect(new Set(each).size).toBe(3);
      if (exclusive) expect(each).not.toContain(pinned[0]);
    }
    await eventually('closed', () => connections() === 6);
  });

  it('pins each of several calls to its own', async () => {
    const caller = gateway.client();
    const seen = Array.from({ length: 3 }, () => caller.call<Seen>('pinned', exclusive));
    await eventually('all are pinned', () => fleet.calls === 3 * 9);
    expect(connections()).toBe(exclusive ? 9 : 6);
    gate.open();
    const all = await Promise.all(seen);
    for (const { pinned } of all) expect(new Set(pinned).size).toBe(1);
    expect(new Set(all.map(({ pinned: [port] }) => port)).size).toBe(3);
    await eventually('closed', () => connections() === 6);
  });

  it('does not outlive a handler that fails, or whose caller cancels', async () => {
    const caller = gateway.client();
    const controller = new AbortController();
    const cancelled = caller.call('pinned', exclusive, { signal: controller.signal });
    await isPinned.opened;
    controller.abort();
    await expect(cancelled).rejects.toThrow('was cancelled');
    gate.open();
    await eventually('closed', () => connections() === 6);
    expect(new Set(await caller.call<number[]>('plain')).size).toBe(3);
    expect(new Set(await ports(orders)).size).toBe(3);
  });
});
