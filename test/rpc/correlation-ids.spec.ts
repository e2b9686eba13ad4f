import { MAX_ID } from '../../lib/protocol/frame.js';
import { CorrelationIds } from '../../lib/rpc/correlation-ids.js';

const none = (): boolean => false;

function take(ids: CorrelationIds, count: number): number[] {
  return Array.from({ length: count }, () => ids.next());
}

it('gives a client the odd ids from 3', () => {
  expect(take(new CorrelationIds(3, none), 4)).toEqual([3, 5, 7, 9]);
});

it('gives a server the even ids from 4', () => {
  expect(take(new CorrelationIds(4, none), 4)).toEqual([4, 6, 8, 10]);
});

it('uses the last odd id below 2^32 and begins again at 3', () => {
  const ids = new CorrelationIds(3, none, MAX_ID - 2);
  expect(take(ids, 4)).toEqual([4_294_967_293, 4_294_967_295, 3, 5]);
});

it('uses the last even id below 2^32 and begins again at 4', () => {
  const ids = new CorrelationIds(4, none, MAX_ID - 3);
  expect(take(ids, 4)).toEqual([4_294_967_292, 4_294_967_294, 4, 6]);
});

it('skips ids that are live', () => {
  const live = new Set([5, 7, 11]);
  expect(take(new CorrelationIds(3, (id) => live.has(id)), 4)).toEqual([3, 9, 13, 15]);
});

it('skips live ids on both sides of the wrap', () => {
  const live = new Set([MAX_ID, 3, 5, 9]);
  const ids = new CorrelationIds(3, (id) => live.has(id), MAX_ID - 2);
  expect(take(ids, 3)).toEqual([MAX_ID - 2, 7, 11]);
});

it('takes an id again when it is free', () => {
  const live = new Set([3]);
  const ids = new CorrelationIds(3, (id) => live.has(id), MAX_ID);
  expect(ids.next()).toBe(MAX_ID);
  expect(ids.next()).toBe(5);
  live.clear();
  const later = new CorrelationIds(3, (id) => live.has(id), MAX_ID);
  expect(take(later, 2)).toEqual([MAX_ID, 3]);
});
