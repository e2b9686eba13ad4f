import 'reflect-metadata';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectRapClient, RapClient, RapModule } from 'nestjs-rap';

const port = Number(process.argv[2] ?? 9000);

@Injectable()
class Visitor {
  constructor(@InjectRapClient('DESK') private readonly desk: RapClient) {}

  async show(): Promise<void> {
    await this.implicit();
    await this.explicit();
    await this.disposed();
    console.log(`no session:   whoami -> ${await this.whoAmI()}`);
  }

  /** Every call inside belongs to the session, also in methods that do not know of it. */
  async implicit(): Promise<void> {
    await this.desk.withSession(async () => {
      console.log(`withSession:  login  -> ${await this.desk.call<string>('login', { user: 'ann' })}`);
      console.log(`withSession:  whoami -> ${await this.whoAmI()}`);
    });
  }

  /** Explicit: only the calls through the session belong to it. */
  async explicit(): Promise<void> {
    const session = await this.desk.openSession();
    console.log(`openSession:  login  -> ${await session.call<string>('login', { user: 'bob' })}`);
    console.log(
      `openSession:  whoami -> ${await session.call<string>('whoami')}; beside it ${await this.whoAmI()}`,
    );

    // execute() returns a value or a stream, depending on the function
    console.log(`execute:      whoami -> ${String(await session.execute('whoami'))}`);
    const greetings = await session.execute<string>('greetings', { n: 2 });
    if (typeof greetings !== 'string') {
      for await (const greeting of greetings) console.log(`execute:      greetings -> ${greeting}`);
    }
    session.close();
  }

  async disposed(): Promise<void> {
    await using session = await this.desk.openSession(); // closed at the end of the block
    console.log(`await using:  login  -> ${await session.call<string>('login', { user: 'eve' })}`);
  }

  whoAmI(): Promise<string> {
    return this.desk.call<string>('whoami');
  }
}

@Module({
  imports: [RapModule.register([{ name: 'DESK', host: 'localhost', port }])],
  providers: [Visitor],
})
class AppModule {}

const app = await NestFactory.createApplicationContext(AppModule, { logger: ['warn', 'error'] });
await app.get(Visitor).show();
await app.close();
