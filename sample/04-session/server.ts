import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { RapContext, RapServer, type Session } from 'nestjs-rap';

@Controller()
class SessionController {
  /** `ctx.session` is one object for all calls of a session, and is deleted with it. */
  @MessagePattern('login')
  login(@Payload() { user }: { user: string }, @Ctx() { session }: RapContext): string {
    if (!session) return 'log in inside a session';
    session.state.set('user', user);
    session.signal.addEventListener('abort', () => console.log(`server: the session of ${user} has ended`));
    return `welcome, ${user}`;
  }

  @MessagePattern('whoami')
  whoAmI(@Ctx() { session }: RapContext): string {
    return userOf(session);
  }

  /** Streams and channels belong to the session as well. */
  @MessagePattern('greetings')
  async *greetings(@Payload() { n }: { n: number }, @Ctx() { session }: RapContext): AsyncGenerator<string> {
    for (let i = 1; i <= n; i++) yield `hello ${userOf(session)} #${i}`;
  }
}

function userOf(session: Session | undefined): string {
  const user = session?.state.get('user');
  return typeof user === 'string' ? user : 'nobody';
}

@Module({ controllers: [SessionController] })
class AppModule {}

const server = new RapServer({ host: 'localhost', port: Number(process.argv[2] ?? 9000) });
const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: ['warn', 'error'] });
app.enableShutdownHooks();
await app.listen();
process.send?.(server.address());
