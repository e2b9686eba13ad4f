import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { type ProcessorContext, RapProcessor, type RapRequest } from '../../lib/index.js';
import { call, connectRaw, openRaw, startApp } from '../helpers/fault-scope.js';

/** A burst, and what comes in a few seconds after that. */
const MOST = 80;
const SOCKETS = 300;
const limits = { maxConnections: 2000, maxConnectionsPerAddress: 2000 };

@Controller()
class Handlers {
  @MessagePattern('echo') echo(): void {}
}

it('connections that are no rap cause a bounded number of lines, however many come', async () => {
  const app = await startApp({ limits });
  const sockets = await Promise.all(Array.from({ length: SOCKETS }, () => connectRaw(app)));
  for (const raw of sockets) raw.bytes('00');
  await Promise.all(sockets.map((raw) => raw.waitClosed()));
  expect(app.log.lines.length).toBeGreaterThan(0);
  expect(app.log.lines.length).toBeLessThan(MOST);
});

it('so do calls on which a plugin of the server fails', async () => {
  class Failing extends RapProcessor {
    override processRequest(_request: RapRequest, _context: ProcessorContext): void {
      throw new Error('it cannot be read');
    }
  }
  const app = await startApp({ processors: [new Failing()] }, [Handlers]);
  const raw = await openRaw(app);
  const ids = Array.from({ length: 200 }, (_, i) => 5 + 2 * i);
  raw.send(...ids.map((id) => call(id, 'echo', null)));
  for (const id of ids) expect((await raw.answer(id))[2]['status_code']).toBe(500);
  expect(app.log.lines[0]).toContain('it cannot be read');
  expect(app.log.lines.length).toBeLessThan(MOST);
});
