/** Extensions that this project adds to rap. One holds on a connection where both sides named it in DECLARE. */
export const Extension = {
  /** Header `one_way: true` on a call: an event, no answer. */
  OneWay: 'one_way',
} as const;

export type Extension = (typeof Extension)[keyof typeof Extension];

/** What is offered in DECLARE: extension name to its parameters. */
export type ExtensionOffer = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** What this implementation offers. */
export const OFFERED: ExtensionOffer = { [Extension.OneWay]: {} };

/** The extensions that both sides named, with the peer's parameters. Anything that is not a map of maps offers nothing. */
export function agreedExtensions(offered: unknown): ReadonlyMap<string, unknown> {
  const agreed = new Map<string, unknown>();
  if (typeof offered !== 'object' || offered === null) return agreed;
  for (const name of Object.keys(OFFERED)) {
    const parameters = Object.hasOwn(offered, name) ? (offered as Record<string, unknown>)[name] : undefined;
    if (typeof parameters === 'object' && parameters !== null) agreed.set(name, parameters);
  }
  return agreed;
}
