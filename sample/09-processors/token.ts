import { Inject, Injectable } from '@nestjs/common';
import {
  AuthError,
  type ProcessorContext,
  RapProcessor,
  type RapRequest,
  type RapResponse,
} from 'nestjs-rap';

/** On the client: puts a token into the header of every call, and of every channel's first message. */
@Injectable()
export class SendToken extends RapProcessor {
  constructor(@Inject('TOKEN') private readonly token: string) {
    super();
  }

  override processRequest(request: RapRequest): void {
    if (request.lifeCycle !== 'MSG') request.header['token'] = this.token;
  }
}

/** On the server: refuses callers without the token. It runs before guards, and sees each message of a stream. */
export class CheckToken extends RapProcessor {
  override processRequest(request: RapRequest, context: ProcessorContext): void {
    if (request.lifeCycle === 'MSG') return; // the channel was accepted at its DECLARE
    if (request.header['token'] !== 'open sesame') throw new AuthError('what is the word?');
    context.state.set('since', performance.now());
  }

  override onContextExit({ target, kind, state }: ProcessorContext, error?: unknown): void {
    const outcome = error instanceof Error ? error.name : 'done';
    console.log(`server: ${kind} ${target}: ${outcome}${state.has('since') ? '' : ', not let in'}`);
  }
}

/** On both sides: reverses bodies, as an encrypting processor would transform them. It may be asynchronous. */
export class Upside extends RapProcessor {
  override async processRequest(request: RapRequest): Promise<void> {
    request.body = await Promise.resolve(turned(request.body));
  }

  override processResponse(response: RapResponse): void {
    if (!response.error) response.body = turned(response.body);
  }
}

function turned(body: unknown): unknown {
  return typeof body === 'string' ? body.split('').toReversed().join('') : body;
}
