import { fileURLToPath } from 'node:url';
import { type ChannelOptions, Server, ServerCredentials } from '@grpc/grpc-js';
import { Controller } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  type ClientGrpcProxy,
  ClientProxyFactory,
  GrpcMethod,
  type MicroserviceOptions,
  ServerGrpc,
  Transport,
} from '@nestjs/microservices';
import { firstValueFrom, type Observable } from 'rxjs';
import { HOST, type Peer, type PeerClient } from '../peer.js';
import {
  type BenchStreams,
  type BenchStub,
  GrpcStreamController,
  grpcStreams,
  tunedGrpcStreams,
} from './nest-grpc-streams.js';
import { moduleOf } from './nest-module.js';

interface SumRequest {
  a: number;
  b: number;
}

interface SumReply {
  value: number;
}

interface EchoMessage {
  text: string;
}

type BenchService = Partial<Record<string, (request: unknown) => Observable<unknown>>>;

@Controller()
class BenchController {
  @GrpcMethod('Bench', 'Sum')
  sum({ a, b }: SumRequest): SumReply {
    return { value: a + b };
  }

  @GrpcMethod('Bench', 'Echo')
  echo(message: EchoMessage): EchoMessage {
    return message;
  }
}

const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

const channelOptions: ChannelOptions = {
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
};

/**
 * By default the client keeps up to 1 MiB of a call's messages for retries, and iterates over all of them after each message: an
 * upload of small messages then stalls (grpc-js 1.14). With a small buffer it runs at full speed.
 */
const clientChannelOptions: ChannelOptions = { ...channelOptions, 'grpc.per_rpc_retry_buffer_size': 4096 };

// From bench/dist/src/peers to bench/proto: tsc does not copy it.
const contract = {
  package: 'bench',
  protoPath: fileURLToPath(new URL('../../../proto/bench.proto', import.meta.url)),
};

/** Nest binds the port itself and does not expose it, so that port 0 needs this. */
class FreePortServerGrpc extends ServerGrpc {
  port = 0;

  override async createClient(): Promise<Server> {
    const server = new Server(channelOptions);
    this.port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`${HOST}:0`, ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(port),
      );
    });
    return server;
  }
}

export const nestGrpc: Peer = grpcPeer((client) => {
  const service = client.getService<BenchService>('Bench');
  return {
    unary(name, body) {
      const method = service[name];
      if (!method) throw new Error(`The service has no method ${name}`);
      return firstValueFrom(method(typeof body === 'string' ? { text: body } : body));
    },
    unwrap: plainValue,
    ...grpcStreams(client.getService<BenchStreams>('Bench')),
  };
});

/** Streams tuned with knowledge of the source of Nest and grpc-js. */
export const nestGrpcTuned: Peer = grpcPeer((client) =>
  tunedGrpcStreams(client.getClientByServiceName<BenchStub>('Bench')),
);

function grpcPeer(operations: (client: ClientGrpcProxy) => PeerClient): Peer {
  return {
    async startServer() {
      const strategy = new FreePortServerGrpc(contract);
      const app = await NestFactory.createMicroservice<MicroserviceOptions>(
        moduleOf(BenchController, GrpcStreamController),
        { strategy, logger: ['error'] },
      );
      await app.listen();
      return strategy.port;
    },

    async connect(port) {
      const client = ClientProxyFactory.create({
        transport: Transport.GRPC,
        options: { ...contract, url: `${HOST}:${port}`, channelOptions: clientChannelOptions },
      });
      return operations(client);
    },
  };
}

/** A gRPC answer is always a message: its only field is the value that other peers return directly. */
function plainValue(answer: unknown): unknown {
  if (typeof answer !== 'object' || answer === null) return answer;
  if ('text' in answer) return answer.text;
  return 'value' in answer ? answer.value : undefined;
}
