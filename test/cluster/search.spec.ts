import { Search, type Searched } from '../../lib/cluster/search.js';
import { seededRandom } from '../helpers/seeded-random.js';

class Server implements Searched {
  isSoon = false;
  isWaiting = false;
  hurried = 0;

  hurry(): void {
    this.isSoon = true;
    this.hurried += 1;
  }

  /** It is lost, or its attempt has failed. */
  fails(search: Search<Server>, all: readonly Server[], isServed = false): boolean {
    const mayWait = search.mayWait(this, all, isServed);
    this.isWaiting = true;
    return mayWait;
  }
}

const servers = (count: number): Server[] => Array.from({ length: count }, () => new Server());
const soonOf = (all: readonly Server[]): number => all.filter(({ isSoon }) => isSoon).length;

let search: Search<Server>;
beforeEach(() => {
  search = new Search(seededRandom(7));
});

it('takes its time while others take calls', () => {
  const all = servers(5);
  expect(all.map((each) => each.fails(search, all, true))).toEqual([true, true, true, true, true]);
  expect(soonOf(all)).toBe(0);
});

it.each([1, 2, 3])('tries all of %i servers soon, again and again', (count) => {
  const all = servers(count);
  for (let round = 0; round < 3; round += 1)
    for (const each of all) expect(each.fails(search, all)).toBe(false);
  expect(soonOf(all)).toBe(count);
});

it('tries three of many soon', () => {
  const all = servers(20);
  const patient = all.filter((each) => each.fails(search, all));
  expect(patient).toHaveLength(17);
  expect(soonOf(all)).toBe(3);
});

it('hands the turn of one that fails to another, until each had its turn', () => {
  const all = servers(20);
  for (const each of all) each.fails(search, all);
  for (let i = 0; i < 400; i += 1) {
    const next = all.find(({ isSoon }) => isSoon);
    expect(next?.fails(search, all)).toBe(true);
    expect(soonOf(all)).toBe(3);
  }
  expect(all.filter(({ hurried }) => hurried === 0)).toEqual([]);
});

it('tries three of those that wait when the last one is lost', () => {
  const all = servers(10);
  for (const each of all) each.fails(search, all, true);
  search.lostAll(all);
  expect(soonOf(all)).toBe(3);
  search.lostAll(all);
  expect(soonOf(all)).toBe(3);
});

it('does not hurry those that are being connected', () => {
  const all = servers(3);
  search.lostAll(all);
  expect(soonOf(all)).toBe(0);
});
