import { Readable } from 'node:stream';
import { Observable } from 'rxjs';
import { Gate } from '../../helpers/async.js';

/** Counts up to `count` and tells what becomes of it. */
export class Counter {
  pulled = 0;
  stopped = 0;

  constructor(readonly count = Infinity) {}

  async *async(): AsyncGenerator<number> {
    try {
      for (let i = 0; i < this.count; i++) {
        this.pulled += 1;
        await Promise.resolve();
        yield i;
      }
    } finally {
      this.stopped += 1;
    }
  }

  *sync(): Generator<number> {
    try {
      for (let i = 0; i < this.count; i++) {
        this.pulled += 1;
        yield i;
      }
    } finally {
      this.stopped += 1;
    }
  }

  observable(): Observable<number> {
    return new Observable((observer) => {
      for (let i = 0; i < this.count && !observer.closed; i++) {
        this.pulled += 1;
        observer.next(i);
      }
      observer.complete();
      return () => (this.stopped += 1);
    });
  }
}

/** A Readable whose clean-up fails, as that of a file or a request may. */
export function failsOnLeaving(): Readable {
  return new Readable({
    objectMode: true,
    read: () => {},
    destroy: (_error, done) => done(new Error('cannot be closed')),
  });
}

export const numbers = (count: number, first = 0): number[] =>
  Array.from({ length: count }, (_, i) => first + i);

/** An iterator whose every answer the test gives. */
export class ScriptedIterator implements AsyncIterator<number, undefined> {
  readonly asked: Gate<IteratorResult<number, undefined>>[] = [];
  returns = 0;

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<number, undefined>> {
    const gate = new Gate<IteratorResult<number, undefined>>();
    this.asked.push(gate);
    return gate.opened;
  }

  return(): Promise<IteratorResult<number, undefined>> {
    this.returns += 1;
    return Promise.resolve({ done: true, value: undefined });
  }
}
