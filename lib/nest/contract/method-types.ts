import type { AnyRapMethod, RapServiceDefinition } from './contract.js';

interface MethodTypes {
  readonly sent: unknown;
  readonly received: unknown;
  readonly returned: unknown;
  readonly answered: unknown;
}

/** The types of a method of a contract. */
export type TypesOf<M extends AnyRapMethod> = M extends { readonly '~types'?: infer T extends MethodTypes }
  ? T
  : MethodTypes;

/** What a caller of a contract's method sends: its parameters, or each item: `InputOf<typeof MathService, 'sum'>`. */
export type InputOf<S extends RapServiceDefinition, K extends keyof S['methods']> = TypesOf<
  S['methods'][K]
>['sent'];
/** What a caller of a contract's method gets: its result, or each item: `OutputOf<typeof MathService, 'sum'>`. */
export type OutputOf<S extends RapServiceDefinition, K extends keyof S['methods']> = TypesOf<
  S['methods'][K]
>['answered'];
