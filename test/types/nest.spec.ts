import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../..', import.meta.url));
const head = `
  import 'reflect-metadata';
  import type { Server } from 'node:net';
  import { Controller, Inject, Module, type INestApplication, type INestMicroservice } from '@nestjs/common';
  import { NestFactory } from '@nestjs/core';
  import {
    ClientProxy, ClientProxyFactory, ClientsModule, Ctx, EventPattern, MessagePattern, Payload,
    type MicroserviceOptions,
  } from '@nestjs/microservices';
  import type { Observable } from 'rxjs';
  import {
    InjectRapClient, RapClient, RapContext, RapGroup, RapModule, RapServer, RapStatus, RAP_TRANSPORT,
    type RapConnectionInfo, type RapServerEvents, type RapClientEvents,
  } from '../../lib/index.js';
  @Module({}) class AppModule {}
  declare const app: INestApplication;
  declare const service: INestMicroservice;
  declare const client: RapClient;
`;

/** What a user of strict TypeScript writes. */
const snippets: Record<string, string> = {
  'createMicroservice with the strategy': `
    export const a = NestFactory.createMicroservice<MicroserviceOptions>(AppModule, { strategy: new RapServer({ port: 0 }) });
    export const b = NestFactory.createMicroservice(AppModule, { strategy: new RapServer() });
  `,
  'connectMicroservice with the strategy': `
    app.connectMicroservice<MicroserviceOptions>({ strategy: new RapServer() }, { inheritAppConfig: true });
  `,
  'on and unwrap of the application': `
    service.on<RapServerEvents>('connection', (connection: RapConnectionInfo) => connection.peer.address);
    export const server: Server = service.unwrap<Server>();
  `,
  'decorators with transport and extras': `
    @RapGroup('math')
    @Controller()
    export class MathController {
      @MessagePattern('a', RAP_TRANSPORT) a(@Payload() data: { a: number }, @Ctx() ctx: RapContext): string { return ctx.name + data.a; }
      @MessagePattern('b', { group: 'x', private: true, timeoutMs: 5 }) b(): void {}
      @MessagePattern('c', RAP_TRANSPORT, { group: 'x' }) c(): void {}
      @EventPattern('d') d(@Payload() data: unknown): void {}
    }
  `,
  'ClientsModule.register with customClass': `
    ClientsModule.register([{ name: 'MATH', customClass: RapClient, options: { port: 9000 } }]);
  `,
  'ClientsModule.registerAsync with customClass': `
    ClientsModule.registerAsync([{ name: 'MATH', useFactory: () => ({ customClass: RapClient, options: { port: 9000 } }) }]);
  `,
  'ClientProxyFactory.create with customClass': `
    export const made: ClientProxy = ClientProxyFactory.create({ customClass: RapClient, options: { port: 9000 } });
  `,
  'a RapClient where a ClientProxy is wanted': `
    export const proxy: ClientProxy = client;
    class Service { constructor(@Inject('MATH') readonly math: ClientProxy) {} }
    export const s = new Service(client);
  `,
  'a RapServer where a status of RapStatus is wanted, and typed events': `
    export const status: Observable<RapStatus> = client.status;
    client.on('disconnect', (reason: Error | undefined) => void reason);
    export type Names = keyof RapClientEvents;
    export const serverStatus: Observable<RapStatus> = new RapServer().status;
  `,
  'call and send with types': `
    export const a: Promise<number> = client.call<number>('sum', { a: 1 }, { timeoutMs: 5, deadline: new Date(), header: { a: 'b' } });
    export const b: Observable<number> = client.send<number>('sum', { a: 1 });
    export const c: Observable<number> = client.send<number, { a: number }>({ cmd: 'sum' }, { a: 1 });
  `,
  RapModule: `
    @Module({
      imports: [
        RapModule.register([{ name: 'MATH', port: 9000 }, { name: Symbol('x'), servers: [{ host: 'h', port: 1 }] }]),
        RapModule.registerAsync([{ name: 'MATH', inject: ['CONFIG'], useFactory: async (config: { port: number }) => ({ port: config.port }) }]),
        RapModule.drainOnShutdown(new RapServer()),
      ],
    })
    export class UserModule { constructor(@InjectRapClient('MATH') readonly math: RapClient) {} }
  `,
};

describe('the types, for a user of strict TypeScript', () => {
  let errors: ReadonlyMap<string, string[]>;
  beforeAll(() => {
    errors = check(snippets);
  }, 60_000);

  it.each(Object.keys(snippets))('%s', (name) => {
    expect(errors.get(name)).toEqual([]);
  });
});

/** Type-checks each snippet as a file of its own beside this one; nothing is written. */
function check(sources: Record<string, string>): ReadonlyMap<string, string[]> {
  const { config } = ts.readConfigFile(`${root}tsconfig.json`, (path) => ts.sys.readFile(path)) as {
    config: { compilerOptions: object };
  };
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  const files = new Map(
    Object.entries(sources).map(([name, text], index) => [
      `${root}test/types/snippet-${index}.ts`,
      { name, text: head + text },
    ]),
  );
  const real = ts.createCompilerHost(options);
  const host: ts.CompilerHost = {
    ...real,
    fileExists: (path) => files.has(path) || real.fileExists(path),
    readFile: (path) => files.get(path)?.text ?? real.readFile(path),
    getSourceFile(path, ...rest) {
      const file = files.get(path);
      return file ? ts.createSourceFile(path, file.text, rest[0]) : real.getSourceFile(path, ...rest);
    },
  };
  const program = ts.createProgram([...files.keys()], options, host);
  return new Map(
    [...files].map(([path, { name }]) => [
      name,
      program
        .getSemanticDiagnostics(program.getSourceFile(path))
        .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')),
    ]),
  );
}
