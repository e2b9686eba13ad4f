import { InputBudget, type BudgetHolder } from '../../lib/net/input-budget.js';

let evicted: string[];

class Holder implements BudgetHolder {
  constructor(readonly name: string) {}

  evict(): void {
    evicted.push(this.name);
  }
}

const [a, b, c] = ['a', 'b', 'c'].map((name) => new Holder(name)) as [Holder, Holder, Holder];

beforeEach(() => {
  evicted = [];
});

it('evicts nobody within the budget, to the byte', () => {
  const budget = new InputBudget(100);
  budget.set(a, 60);
  budget.set(b, 40);
  expect(evicted).toEqual([]);
  budget.set(b, 41);
  expect(evicted).toEqual(['a']);
});

it('evicts the holder that began first, not the one that holds most', () => {
  const budget = new InputBudget(100);
  budget.set(a, 1);
  budget.set(b, 90);
  budget.set(c, 10);
  expect(evicted).toEqual(['a']);
});

it('evicts as many as it must', () => {
  const budget = new InputBudget(100);
  budget.set(a, 50);
  budget.set(b, 50);
  budget.set(c, 100);
  expect(evicted.toSorted()).toEqual(['a', 'b']);
});

it('counts a holder by its last word, up and down', () => {
  const budget = new InputBudget(100);
  for (const bytes of [90, 10, 90, 10]) budget.set(a, bytes);
  budget.set(b, 90);
  expect(evicted).toEqual([]);
  budget.set(a, 11);
  expect(evicted).toEqual(['a']);
});

it('forgets who holds nothing, and puts it behind the others when it begins again', () => {
  const budget = new InputBudget(100);
  budget.set(a, 50);
  budget.set(b, 50);
  budget.set(a, 0);
  budget.set(a, 50);
  budget.set(c, 1);
  expect(evicted).toEqual(['b']);
});

it('evicts a holder that alone holds more than everything', () => {
  const budget = new InputBudget(100);
  budget.set(a, 101);
  expect(evicted).toEqual(['a']);
  budget.set(b, 100);
  expect(evicted).toEqual(['a']);
});

it('counts an evicted holder no more, also if it says so itself', () => {
  const budget = new InputBudget(100);
  const talking: BudgetHolder = {
    evict: () => {
      evicted.push('talking');
      budget.set(talking, 0);
    },
  };
  budget.set(talking, 60);
  budget.set(b, 60);
  budget.set(c, 40);
  expect(evicted).toEqual(['talking']);
  budget.set(c, 41);
  expect(evicted).toEqual(['talking', 'b']);
});

it('takes 0 of a holder that it does not know', () => {
  const budget = new InputBudget(100);
  budget.set(a, 0);
  budget.set(b, 100);
  expect(evicted).toEqual([]);
});
