import { once } from 'node:events';
import {
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  Metadata,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerWritableStream,
} from '@grpc/grpc-js';
import { Controller } from '@nestjs/common';
import { GrpcMethod, GrpcStreamCall, GrpcStreamMethod } from '@nestjs/microservices';
import { firstValueFrom, from, last, map, Observable, Subject, tap } from 'rxjs';
import { countUp } from '../count.js';
import type { PeerClient, StreamParams } from '../peer.js';
import { addTo, type Tally } from '../tally.js';
import { produceText } from '../texts.js';

/** gRPC omits a field that is 0. */
interface Item {
  value?: number;
}

interface Text {
  text: string;
}

@Controller()
export class GrpcStreamController {
  @GrpcMethod('Bench', 'Count')
  count({ n }: StreamParams): Observable<Item> {
    return from(countUp(n)).pipe(map((value) => ({ value })));
  }

  @GrpcStreamMethod('Bench', 'Sink')
  sink(items: Observable<Item>): Observable<Tally> {
    const tally: Tally = { count: 0, sum: 0 };
    return items.pipe(
      tap(({ value = 0 }) => addTo(tally, value)),
      last(),
      map(() => tally),
    );
  }

  @GrpcStreamMethod('Bench', 'Mirror')
  mirror(items: Observable<Item>): Observable<Item> {
    return items;
  }

  @GrpcMethod('Bench', 'CountTuned')
  countTuned(
    { n }: StreamParams,
    _: Metadata,
    call: ServerWritableStream<StreamParams, Item>,
  ): Observable<Item> {
    return heldBack(n, call, (value) => ({ value }));
  }

  @GrpcMethod('Bench', 'Texts')
  texts({ n }: StreamParams, _: Metadata, call: ServerWritableStream<StreamParams, Text>): Observable<Text> {
    return heldBack(n, call, (i) => ({ text: produceText(i) }));
  }

  @GrpcStreamCall('Bench', 'SinkTuned')
  sinkTuned(call: ServerReadableStream<Item, Tally>, callback: sendUnaryData<Tally>): void {
    const tally: Tally = { count: 0, sum: 0 };
    // The client waits for it: only then do its writes report correctly when there is room.
    call.sendMetadata(new Metadata());
    call.on('data', ({ value = 0 }: Item) => addTo(tally, value));
    call.on('end', () => callback(null, tally));
  }

  @GrpcStreamCall('Bench', 'MirrorTuned')
  mirrorTuned(call: ServerDuplexStream<Item, Item>): void {
    call.on('data', (item: Item) => call.write(item));
    call.on('end', () => call.end());
  }
}

/**
 * Emits while the call has room: Nest writes at once what an Observable emits, and buffers the rest without a bound. Nest has no
 * other way for a handler that streams an answer to one request; one that writes to the call itself is not faster.
 */
function heldBack<T>(n: number, call: ServerWritableStream<StreamParams, T>, make: (i: number) => T) {
  return new Observable<T>((subscriber) => {
    let i = 0;
    const emit = (): void => {
      while (i < n && !subscriber.closed && !call.writableNeedDrain) subscriber.next(make(i++));
      if (i === n) subscriber.complete();
    };
    call.on('drain', emit);
    emit();
    return () => call.off('drain', emit);
  });
}

/** The part of the client that grpc-js creates from the contract. */
export interface BenchStub {
  CountTuned(params: StreamParams): ClientReadableStream<Item>;
  Texts(params: StreamParams): ClientReadableStream<Text>;
  SinkTuned(callback: (error: Error | null, tally?: Tally) => void): ClientWritableStream<Item>;
  MirrorTuned(): ClientDuplexStream<Item, Item>;
}

/** All items of an Observable wait in memory before the first is sent; more of them are slower still. */
const LONGEST_STREAM = 50_000;

/** The contract in Nest's client. */
export interface BenchStreams {
  Count(params: StreamParams): Observable<Item>;
  Sink(items: Observable<Item>): Observable<Tally>;
  Mirror(items: Observable<Item>): Observable<Item>;
}

/** As a user of Nest usually writes it: Observables on both sides. */
export function grpcStreams(service: BenchStreams): PeerClient {
  return {
    longestStream: LONGEST_STREAM,

    consume(_, params, take) {
      return new Promise((resolve, reject) => {
        const subscription = service.Count(params).subscribe({
          next({ value = 0 }) {
            if (take(value)) return;
            subscription.unsubscribe();
            resolve();
          },
          error: reject,
          complete: resolve,
        });
      });
    },

    produce(_, next) {
      return firstValueFrom(service.Sink(from(batches(next))));
    },

    exchange(_, first, answer) {
      const outgoing = new Subject<Item>();
      let underWay = first.length;
      return new Promise((resolve, reject) => {
        service.Mirror(outgoing).subscribe({
          next({ value: echo = 0 }) {
            const value = answer(echo);
            if (value !== undefined) outgoing.next({ value });
            else if (--underWay === 0) outgoing.complete();
          },
          error: reject,
          complete: resolve,
        });
        for (const value of first) outgoing.next({ value });
      });
    },
  };
}

/** An Observable has no backpressure, so it yields to the event loop now and then; otherwise nothing would be sent. */
async function* batches(next: () => number | undefined): AsyncGenerator<Item> {
  for (let i = 1; i <= LONGEST_STREAM; i++) {
    const value = next();
    if (value === undefined) return;
    yield { value };
    if (i % 250 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}

/**
 * Plain calls of grpc-js: Nest's client wraps them in Observables, which have no backpressure in either direction.
 */
export function tunedGrpcStreams(stub: BenchStub): PeerClient {
  return {
    consume(_, params, take) {
      const call = stub.CountTuned(params);
      return new Promise((resolve, reject) => {
        let isCancelled = false;
        call.on('data', ({ value = 0 }: Item) => {
          if (isCancelled || take(value)) return;
          isCancelled = true;
          call.cancel();
        });
        call.on('error', (error) => (isCancelled ? resolve() : reject(error)));
        call.on('end', resolve);
      });
    },

    open(_, params) {
      const call = stub.Texts(params);
      const items: AsyncIterator<Text> = call[Symbol.asyncIterator]();
      return {
        async read() {
          const { value } = await items.next();
          return value?.text;
        },
        async cancel() {
          call.on('error', () => {});
          call.cancel();
        },
      };
    },

    produce(_, next) {
      return new Promise((resolve, reject) => {
        const call = stub.SinkTuned((error, tally) => (error ? reject(error) : resolve(tally)));
        void (async () => {
          await once(call, 'metadata');
          for (let value = next(); value !== undefined; value = next()) {
            if (!call.write({ value })) await once(call, 'drain');
          }
          call.end();
        })().catch(reject);
      });
    },

    exchange(_, first, answer) {
      const call = stub.MirrorTuned();
      let underWay = first.length;
      return new Promise((resolve, reject) => {
        call.on('data', ({ value: echo = 0 }: Item) => {
          const value = answer(echo);
          if (value !== undefined) call.write({ value });
          else if (--underWay === 0) call.end();
        });
        call.on('error', reject);
        call.on('end', resolve);
        for (const value of first) call.write({ value });
      });
    },
  };
}
