/** A start or stop hook of a plugin. */
type Hook = (owner: object) => unknown;

/** Starts plugins in the order in which they were loaded, and stops the started ones in reverse. */
export class Plugins {
  #started: object[] = [];

  constructor(
    private readonly list: readonly object[],
    private readonly names: { readonly start: string; readonly stop: string },
  ) {}

  /** @throws the error of a plugin, after those before it were stopped again */
  async start(owner: object): Promise<void> {
    for (const plugin of this.list) {
      try {
        await hookOf(plugin, this.names.start)?.(owner);
      } catch (error) {
        await this.stop(owner).catch(() => {}); // the error of the start matters more
        throw error;
      }
      this.#started.push(plugin);
    }
  }

  /** Stops all, even if one fails. @throws the first failure */
  async stop(owner: object): Promise<void> {
    const failures: unknown[] = [];
    for (const plugin of this.#started.splice(0).toReversed()) {
      try {
        await hookOf(plugin, this.names.stop)?.(owner);
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

function hookOf(plugin: object, name: string): Hook | undefined {
  const hook = (plugin as Record<string, unknown>)[name];
  return typeof hook === 'function' ? (hook.bind(plugin) as Hook) : undefined;
}
