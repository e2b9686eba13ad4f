import { Logger } from '@nestjs/common';

/** Keeps what plugins log out of the output of a spec file that makes them without an application; call it once. */
export function silenced(): string[] {
  const lines: string[] = [];
  beforeAll(() =>
    Logger.overrideLogger({
      log: () => {},
      error: (message: unknown) => lines.push(`error ${String(message)}`),
      warn: (message: unknown) => lines.push(`warn ${String(message)}`),
    }),
  );
  beforeEach(() => void lines.splice(0));
  afterAll(() => Logger.overrideLogger(true));
  return lines;
}
