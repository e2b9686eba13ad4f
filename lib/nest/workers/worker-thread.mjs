// @ts-check
// The code of piscina's threads. Plain JavaScript, as transferables.mjs.
import { move, transferableSymbol, valueSymbol } from 'piscina';
import { hideIndices, prepareForThread, showIndices } from './transferables.mjs';

/**
 * Runs an exported function. It returns a description of an error that the function throws: an Error would lose its class
 * and its fields on the way to the other thread.
 *
 * @param {import('./worker-task.js').WorkerTask} task
 * @returns {Promise<unknown>} a `WorkerAnswer`
 */
export default async function run({ url, name, args, transfer, token }) {
  try {
    const given = token === undefined ? args : /** @type {unknown[]} */ (showIndices(args, token));
    const value = await (await load(url, name))(...given);
    if (isIterator(value)) {
      throw new TypeError(`${name}() gives an iterator; a worker thread can give back only a value`);
    }
    /** @type {Set<ArrayBuffer>} */
    const moved = new Set();
    const result = hideIndices(transfer ? prepareForThread(value, moved) : value);
    return moved.size === 0 ? result : move({ [transferableSymbol]: [...moved], [valueSymbol]: result });
  } catch (error) {
    return { error: describe(error) };
  }
}

/**
 * @param {string} url
 * @param {string} name
 * @returns {Promise<(...args: unknown[]) => unknown>}
 */
async function load(url, name) {
  const module = await import(url);
  const work = module[name] ?? module.default?.[name];
  if (typeof work !== 'function') throw new TypeError(`${url} exports no function "${name}"`);
  return work;
}

/** @param {unknown} value */
function isIterator(value) {
  if (typeof value !== 'object' || value === null) return false;
  return Symbol.asyncIterator in value || (Symbol.iterator in value && 'next' in value);
}

/**
 * @param {unknown} thrown may be anything, and may throw when it is read
 * @returns {import('./worker-task.js').ThrownInWorker}
 */
function describe(thrown) {
  try {
    if (!(thrown instanceof Error)) return { name: 'Error', message: String(thrown) };
    /** @type {{ name?: unknown, message?: unknown, stack?: unknown }} despite the types of an Error */
    const { name, message, stack } = thrown;
    return { name: String(name), message: String(message), stack: String(stack), ...fieldsOf(thrown) };
  } catch {
    return { name: 'Error', message: 'what was thrown cannot be read' };
  }
}

/**
 * The fields of errors of rap and of Nest. They are recognised by their methods: the application may have more than one copy
 * of a package.
 *
 * @typedef {import('../../protocol/fault.js').Fault & { getError?(): string | object }} RpcLike
 * @typedef {{ getStatus?(): number, getResponse?(): string | object, errorCode?: unknown }} HttpLike
 * @param {Error} error
 * @returns {Partial<import('./worker-task.js').ThrownInWorker>}
 */
function fieldsOf(error) {
  const rpc = /** @type {RpcLike} */ (error);
  if (typeof rpc.getError === 'function') {
    const inner = rpc.getError();
    if (inner !== rpc) return { rpc: cloneable(inner) };
    const { status, code, details, httpStatus, remoteName, sent, phase } = rpc;
    return {
      rap: cloneable({ status, code, details: cloneable(details), httpStatus, remoteName, sent, phase }),
    };
  }
  const http = /** @type {HttpLike} */ (error);
  if (typeof http.getStatus !== 'function' || typeof http.getResponse !== 'function') return {};
  const { errorCode } = http;
  return { http: { status: http.getStatus(), response: cloneable(http.getResponse()), errorCode } };
}

/**
 * @template T
 * @param {T} value
 * @returns {T | undefined}
 */
function cloneable(value) {
  try {
    return structuredClone(value);
  } catch {
    return undefined;
  }
}
