import { Logger } from '@nestjs/common';
import { concatMap, from, type Observable, of } from 'rxjs';
import type { Header } from '../../protocol/frame.js';
import { isThenable } from '../../protocol/values/unknown.js';
import { faultLog } from '../lifecycle/bounded-log.js';
import { ServerError } from '../errors/errors.js';
import { MASKED_MESSAGE } from '../errors/handler-fault.js';
import { RapChannel, type RapMessage } from '../streams/rap-channel.js';
import { type Check, checked } from '../validation/standard-schema.js';

/** Checks of the messages of a channel. */
export interface ChannelChecks {
  readonly input: Check | undefined;
  readonly output: Check | undefined;
  /** A client's application gets the error of its own message; that of a server is logged, and masked. */
  readonly isClient?: boolean;
}

const logger = new Logger('RapServer');

/** A channel whose messages have schemas. One that does not fit ends the channel, and is not delivered. */
export class CheckedChannel<In = unknown, Out = unknown> extends RapChannel<In, Out> {
  readonly #checks: ChannelChecks;

  constructor(channel: RapChannel<In, Out>, checks: ChannelChecks) {
    super(channel.inner);
    this.#checks = checks;
  }

  override read(): Promise<In | undefined> {
    const checking = super
      .read()
      .then((body) => (body === undefined ? undefined : (this.#received(body) as Promise<In>)));
    return this.forgettable(checking, 'channel.read()');
  }

  override [Symbol.asyncIterator](): AsyncIterator<In, undefined> {
    return mapped(super[Symbol.asyncIterator](), async (body) => (await this.#received(body)) as In);
  }

  override messages(): AsyncIterable<RapMessage<In>> {
    const source = super.messages();
    const map = async ({ header, body }: RapMessage<In>): Promise<RapMessage<In>> => ({
      header,
      body: (await this.#received(body)) as In,
    });
    return { [Symbol.asyncIterator]: () => mapped(source[Symbol.asyncIterator](), map) };
  }

  override toObservable(): Observable<In> {
    const check = (body: In): Observable<In> => {
      const value = this.#received(body);
      return isThenable(value) ? from(value as PromiseLike<In>) : of(value as In);
    };
    return super.toObservable().pipe(concatMap(check));
  }

  override write(body: Out, header?: Header): Promise<void> {
    const { output } = this.#checks;
    if (!output) return super.write(body, header);
    return this.forgettable(this.#writeChecked(output, body, header), 'channel.write()');
  }

  async #writeChecked(output: Check, body: Out, header: Header | undefined): Promise<void> {
    let value: unknown;
    try {
      value = await checked(output, body);
    } catch (error) {
      if (this.#checks.isClient) {
        this.close(error);
        throw error;
      }
      if (!this.isClosed)
        faultLog.write(
          (line) => logger.error(line),
          () => error,
        );
      const masked = new ServerError(MASKED_MESSAGE, { cause: error });
      this.close(masked);
      throw masked;
    }
    return super.write(value as Out, header);
  }

  #received(body: unknown): unknown {
    const { input } = this.#checks;
    if (!input) return body;
    const refuse = (error: unknown): never => {
      this.close(error);
      throw error;
    };
    try {
      const value = checked(input, body);
      return isThenable(value) ? Promise.resolve(value).catch(refuse) : value;
    } catch (error) {
      return refuse(error);
    }
  }
}

function mapped<T>(
  source: AsyncIterator<T, unknown>,
  map: (value: T) => Promise<T>,
): AsyncIterator<T, undefined> {
  return {
    async next() {
      const { done, value } = await source.next();
      return done ? { done, value: undefined } : { done: false, value: await map(value) };
    },
    async return() {
      await source.return?.();
      return { done: true, value: undefined };
    },
  };
}
