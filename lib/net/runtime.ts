/**
 * Functions of the runtime, as they were when this module was loaded. Fake timers of a test framework replace the global ones
 * later, and would stop connections: written frames would wait for a `nextTick` that never runs.
 */
// oxlint-disable-next-line typescript/unbound-method -- neither of Node's functions uses its `this`
export const { nextTick } = process;
export const { setImmediate, queueMicrotask } = globalThis;
