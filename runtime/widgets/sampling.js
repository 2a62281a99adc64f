// From logits to the next token, as llmguide.generation.sampling: filters that set the logit of a removed token to -Infinity.
//
// A test compares each with its Python namesake, on random logits and at the edges.

export function softmax(logits) {
  const largest = Math.max(...logits);
  const raised = Float64Array.from(logits, (z) => Math.exp(z - largest));
  const total = raised.reduce((sum, x) => sum + x, 0);
  return raised.map((x) => x / total);
}

const keep = (logits, isKept) => Float64Array.from(logits, (z, i) => (isKept(i) ? z : -Infinity));

function require(isGood, message) {
  if (!isGood) throw new RangeError(message);
}

// The most likely token, the first of several.
export function greedy(logits) {
  return logits.indexOf(Math.max(...logits));
}

export function repetitionPenalty(logits, ids, r) {
  require(r > 0 && r < Infinity, `repetition penalty ${r} must be a positive number; 1 changes nothing`);
  const seen = new Set(ids);
  return Float64Array.from(logits, (z, i) => (!seen.has(i) ? z : z < 0 ? z * r : z / r));
}

export function temperature(logits, t) {
  require(t >= 0 && t < Infinity, `temperature ${t} must be finite and at least 0; 0 is greedy`);
  if (t > 0) return Float64Array.from(logits, (z) => z / t);
  const best = greedy(logits);
  return keep(logits, (i) => i === best);
}

// Ties with the k-th stay.
export function topK(logits, k) {
  require(k >= 1, `top-k ${k} must be at least 1`);
  const smallestKept = Float64Array.from(logits).sort()[logits.length - Math.min(k, logits.length)];
  return keep(logits, (i) => logits[i] >= smallestKept);
}

export function topP(logits, p) {
  require(p > 0 && p <= 1, `top-p ${p} must be above 0 and at most 1`);
  if (p === 1) return Float64Array.from(logits);
  const ascending = [...logits.keys()].sort((a, b) => logits[a] - logits[b] || a - b);
  const probabilities = softmax(logits);
  const isKept = new Uint8Array(logits.length);
  // summed from the least likely end: a token goes while it and all below it hold no more than 1 - p
  let sum = 0;
  for (const i of ascending) {
    sum += probabilities[i];
    isKept[i] = Number(sum > 1 - p);
  }
  isKept[ascending.at(-1)] = 1;
  return keep(logits, (i) => isKept[i]);
}

export function minP(logits, p) {
  require(p >= 0 && p <= 1, `min-p ${p} must be between 0 and 1`);
  const probabilities = softmax(logits);
  const least = p * Math.max(...probabilities);
  return keep(logits, (i) => probabilities[i] >= least);
}

// The filters in the order of transformers, with the logits after each; what is undefined is left out.
/** @returns {[string, Float64Array][]} */
export function stages(logits, ids, settings) {
  /** @type {[string, Float64Array][]} */
  const found = [["logits", Float64Array.from(logits)]];
  const add = (name, filter, value, ...more) => {
    if (value !== undefined) found.push([name, filter(found.at(-1)[1], ...more, value)]);
  };
  add("repetition penalty", repetitionPenalty, settings.repetitionPenalty, ids);
  add("temperature", temperature, settings.temperature);
  add("top-k", topK, settings.topK);
  add("top-p", topP, settings.topP);
  add("min-p", minP, settings.minP);
  return found;
}

// One token: of independent exponential times with these rates, the first to ring. So torch.multinomial draws.
export function sample(logits, generator) {
  const probabilities = softmax(logits);
  return greedy(probabilities.map((p) => p / generator.exponential()));
}
