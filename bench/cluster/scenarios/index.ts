import type { Scenario } from '../scenario.js';
import { linkerd } from './linkerd.js';

/** All scenarios, in the order of the report. */
export const SCENARIOS: readonly Scenario[] = [linkerd];
