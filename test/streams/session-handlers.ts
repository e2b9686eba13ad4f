import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { ChannelPattern, RapChannel, type RapContext, type Session } from '../../lib/index.js';
import { turn } from '../helpers/async.js';
import { EventPattern } from '../helpers/event-pattern.js';
import { aborted } from '../helpers/streams.js';
import { gate, probe, type ServeOptions, serveWithClient } from '../helpers/stream-scope.js';

export let sessions: (Session | undefined)[] = [];

export let events: unknown[] = [];

beforeEach(() => {
  sessions = [];
  events = [];
});

@Controller()
class SessionController {
  /** Id of the caller's session, or null. */
  @MessagePattern('whoami')
  async whoami(@Payload() _: unknown, @Ctx() ctx: RapContext): Promise<string | null> {
    sessions.push(ctx.session);
    await turn();
    return ctx.session?.id ?? null;
  }

  @MessagePattern('login')
  login(@Payload() user: string, @Ctx() ctx: RapContext): string {
    ctx.session?.state.set('user', user);
    return ctx.session?.id ?? 'no session';
  }

  @MessagePattern('user')
  user(@Payload() _: unknown, @Ctx() ctx: RapContext): unknown {
    return ctx.session?.state.get('user') ?? null;
  }

  @MessagePattern('untouched')
  untouched(@Payload() body: unknown): unknown {
    return body;
  }

  @MessagePattern('ids')
  async *ids(@Payload() n: number, @Ctx() ctx: RapContext): AsyncGenerator<string | null> {
    sessions.push(ctx.session);
    for (let i = 0; i < n; i++) {
      await turn();
      yield ctx.session?.id ?? null;
    }
  }

  @ChannelPattern('idChannel')
  async idChannel(
    @Payload() channel: RapChannel<string, string | null>,
    @Ctx() ctx: RapContext,
  ): Promise<void> {
    sessions.push(ctx.session);
    for await (const _ of channel) await channel.write(ctx.session?.id ?? null);
  }

  @EventPattern('event')
  event(@Payload() body: unknown, @Ctx() ctx: RapContext): void {
    events.push(body, ctx.session?.id);
  }

  /** Ends with the session. */
  @MessagePattern('untilClosed')
  async untilClosed(@Payload() _: unknown, @Ctx() ctx: RapContext): Promise<string> {
    const session = ctx.session as Session;
    sessions.push(session);
    await aborted(session.signal);
    return 'closed';
  }

  /** Looks at its session before and after the test lets it go on. */
  @MessagePattern('looksTwice')
  async looksTwice(@Payload() first: boolean, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    if (first) sessions.push(ctx.session);
    await gate.opened;
    sessions.push(ctx.session);
    probe.ended += 1;
  }

  @MessagePattern('gated')
  async gated(@Payload() _: unknown, @Ctx() ctx: RapContext): Promise<string | null> {
    probe.begin(ctx);
    await gate.opened;
    return ctx.session?.id ?? null;
  }
}

export const start = (options?: ServeOptions) => serveWithClient([SessionController], options);
