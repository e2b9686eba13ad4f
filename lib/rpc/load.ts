import { Account } from './account.js';

/** Limits on what is in flight and held. */
export interface LoadLimits {
  readonly calls: number;
  readonly channels: number;
  /** As cost: see {@link Account}. */
  readonly held: number;
}

/** Calls and channels in flight, and the memory held for them, on a whole server or for one address of it. */
export class Load {
  calls = 0;
  channels = 0;
  readonly account: Account;

  constructor(
    private readonly limits: LoadLimits,
    /** The server's load, for the load of an address. */
    private readonly above?: Load,
  ) {
    this.account = new Account(limits.held, above?.account);
  }

  get running(): number {
    return this.calls + this.channels;
  }

  get isIdle(): boolean {
    return this.running === 0 && this.account.held === 0;
  }

  /** Counts a call; false if it exceeds the limit. Either way it counts until it is removed. */
  addCall(): boolean {
    this.calls += 1;
    const fits = this.above === undefined || this.above.addCall();
    return fits && this.calls <= this.limits.calls;
  }

  removeCall(): void {
    this.calls -= 1;
    this.above?.removeCall();
  }

  /** As `addCall`. */
  addChannel(): boolean {
    this.channels += 1;
    const fits = this.above === undefined || this.above.addChannel();
    return fits && this.channels <= this.limits.channels;
  }

  removeChannel(): void {
    this.channels -= 1;
    this.above?.removeChannel();
  }
}
