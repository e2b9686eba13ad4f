import { Controller } from '@nestjs/common';
import { type ClientProxy, Ctx, MessagePattern, Payload, TcpContext } from '@nestjs/microservices';
import { firstValueFrom, from, Observable } from 'rxjs';
import type { ItemSource, PeerClient, StreamParams } from '../peer.js';
import { countUp } from '../count.js';
import { produceText } from '../texts.js';
import { ItemQueue } from './item-queue.js';

/** Emitted in one turn of the event loop. */
const ITEMS_PER_TURN = 250;

/**
 * Nest's client has no backpressure: unread items wait in the client's memory. 50 MiB show that as well as 500.
 */
const MOST_TEXTS = 50_000;

/** All items of an Observable wait in the server's memory before the first is sent; more of them are slower still. */
const LONGEST_STREAM = 50_000;

@Controller()
export class TcpStreamController {
  private readonly running = new Set<() => void>();

  /** As a user of Nest usually writes it: the generator, in the Observable that Nest TCP expects. */
  @MessagePattern('count')
  count({ n }: StreamParams): Observable<number> {
    return from(countUp(n));
  }

  @MessagePattern('count-batched')
  countBatched(@Payload() { n }: StreamParams, @Ctx() context: TcpContext): Observable<number> {
    return this.emit(n, context, (i) => i);
  }

  @MessagePattern('texts')
  texts(@Payload() { n }: StreamParams, @Ctx() context: TcpContext): Observable<string> {
    return this.emit(n, context, produceText);
  }

  /** A client that unsubscribes does not tell the server, so the bench does. */
  @MessagePattern('stop')
  stop(): number {
    const { size } = this.running;
    for (const end of this.running) end();
    return size;
  }

  /**
   * Nest TCP writes at once what an Observable emits. One that emitted all in a loop would fill the server's
   * memory and block its reads; one item per turn would spend its time on turns. So this one emits in batches and waits if
   * the socket is full, which keeps the memory constant at the best possible rate. Nest does not do that for its users.
   */
  private emit<T>(n: number, context: TcpContext, make: (i: number) => T): Observable<T> {
    const { netSocket } = context.getSocketRef();
    return new Observable<T>((subscriber) => {
      let i = 0;
      const end = (): void => subscriber.complete();
      this.running.add(end);
      const turn = (): void => {
        if (subscriber.closed) return;
        if (netSocket.writableNeedDrain) {
          netSocket.once('drain', turn);
          return;
        }
        for (const last = Math.min(n, i + ITEMS_PER_TURN); i < last; i++) subscriber.next(make(i));
        if (i < n) setImmediate(turn);
        else subscriber.complete();
      };
      turn();
      return () => void this.running.delete(end);
    });
  }
}

export function tcpStreams(client: ClientProxy): PeerClient {
  return {
    longestStream: LONGEST_STREAM,
    consume: (name, params, take) => consume(client, name, params, take),
    open: (name, params) => open(client, name, params),
  };
}

/** The fastest stream for Nest TCP that knowledge of its source allows. */
export function batchedTcpStreams(client: ClientProxy): PeerClient {
  return {
    async consume(name, params, take) {
      await consume(client, `${name}-batched`, params, take);
      await stop(client);
    },
  };
}

async function stop(client: ClientProxy): Promise<void> {
  await firstValueFrom(client.send<number>('stop', {}));
}

function consume(
  client: ClientProxy,
  name: string,
  params: StreamParams,
  take: (item: unknown) => boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const subscription = client.send<unknown>(name, params).subscribe({
      next(item) {
        if (take(item)) return;
        subscription.unsubscribe();
        resolve();
      },
      error: reject,
      complete: resolve,
    });
  });
}

function open(client: ClientProxy, name: string, { n }: StreamParams): ItemSource {
  const queue = new ItemQueue();
  const subscription = client.send<unknown>(name, { n: Math.min(n, MOST_TEXTS) }).subscribe({
    next: (item) => queue.push(item),
    error: (error: unknown) => queue.push(error),
    complete: () => queue.push(undefined),
  });
  return {
    read: () => queue.read(),
    async cancel() {
      subscription.unsubscribe();
      await stop(client);
    },
  };
}
