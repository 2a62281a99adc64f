// How many rungs of a ladder a reader knows, from few questions. The model is a knowledge space whose states are ordered:
// a reader in state k knows the rungs below k and no other. Who knows a rung slips with probability SLIP; who does not
// guesses one of the options. Each question is the one whose answer is expected to tell most about k.

export const MOST = 15; // questions
const SURE = 0.9; // posterior probability of a state at which no more is asked
const SLIP = 0.1;

const chance = ({ rung, options }, known) => (rung < known ? 1 - SLIP : 1 / options);

const normalized = (weights) => {
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / sum);
};

// The posterior probability of each state from 0 to `n` rungs, before any answer uniform. `answers` are [item, right].
export function posterior(n, answers) {
  const states = [...Array(n + 1).keys()];
  return normalized(states.map((known) =>
    answers.reduce((product, [item, right]) => product * (right ? chance(item, known) : 1 - chance(item, known)), 1)));
}

export const best = (belief) => belief.indexOf(Math.max(...belief));

const entropy = (p) => (p <= 0 || p >= 1 ? 0 : -p * Math.log2(p) - (1 - p) * Math.log2(1 - p));

// Mutual information of the answer and the state, in bits.
function information(item, belief) {
  const right = belief.reduce((sum, p, known) => sum + p * chance(item, known), 0);
  return entropy(right) - belief.reduce((sum, p, known) => sum + p * entropy(chance(item, known)), 0);
}

// The item to ask next, or null when enough is known. Of each rung the first item that was not asked is a candidate.
export function next(items, n, answers) {
  const belief = posterior(n, answers);
  if (answers.length >= MOST || Math.max(...belief) >= SURE) return null;
  const asked = new Set(answers.map(([{ id }]) => id));
  const candidates = new Map();
  for (const item of items) if (!asked.has(item.id) && !candidates.has(item.rung)) candidates.set(item.rung, item);
  return [...candidates.values()].reduce((a, b) => (information(b, belief) > information(a, belief) ? b : a));
}
