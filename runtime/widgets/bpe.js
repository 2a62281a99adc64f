// Byte-pair encoding as llmguide.tokenization.bpe and llmguide.tokenization.tokenizer: the same pieces, the same merges, the same ids.
//
// Bytes stand in strings of one character a byte ("binary strings"), which can be keys of a Map.

// GPT-2's split pattern. JavaScript's \s holds U+FEFF and lacks U+0085; White_Space is tiktoken's set.
export const GPT2_PATTERN =
  /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
const utf8 = new TextEncoder();

// A lone surrogate becomes U+FFFD, as in tiktoken.
export const split = (text, pattern = GPT2_PATTERN) => text.toWellFormed().match(pattern) ?? [];

export const toBytes = (text) => [...utf8.encode(text)];

export const toBinary = (bytes) => String.fromCharCode(...bytes);
export const fromBinary = (binary) => Uint8Array.from(binary, (character) => character.charCodeAt(0));

export const byteTokens = () => Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));

// Where training stands: each distinct word once, as ids with its count, the merges so far, and all tokens.
export function startTraining(text) {
  const counts = new Map();
  for (const piece of split(text)) counts.set(piece, (counts.get(piece) ?? 0) + 1);
  const words = [...counts].map(([piece, count]) => ({ ids: toBytes(piece), count }));
  return { words, merges: [], tokens: byteTokens() };
}

// All neighboring pairs, each word weighted by its count: the most frequent first, then the smaller pair.
export function pairCounts({ words }) {
  const counts = new Map();
  for (const { ids, count } of words) {
    for (let i = 1; i < ids.length; i++) {
      const key = `${ids[i - 1]},${ids[i]}`;
      const entry = counts.get(key);
      if (entry) entry.count += count;
      else counts.set(key, { pair: [ids[i - 1], ids[i]], count });
    }
  }
  return [...counts.values()].sort((x, y) => y.count - x.count || x.pair[0] - y.pair[0] || x.pair[1] - y.pair[1]);
}

export function mergePair(ids, [left, right], id) {
  const merged = [];
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] === left && ids[i + 1] === right) {
      merged.push(id);
      i++;
    } else merged.push(ids[i]);
  }
  return merged;
}

// Training after one more merge, or null if no pair is left.
export function mergeOnce(training) {
  const [best] = pairCounts(training);
  if (!best) return null;
  const id = training.tokens.length;
  return {
    words: training.words.map(({ ids, count }) => ({ ids: mergePair(ids, best.pair, id), count })),
    merges: [...training.merges, best],
    tokens: [...training.tokens, training.tokens[best.pair[0]] + training.tokens[best.pair[1]]],
  };
}

// A binary heap of numbers, the smallest first.
class Heap {
  #items = [];

  push(item) {
    const items = this.#items;
    let at = items.push(item) - 1;
    for (let parent; at && items[(parent = (at - 1) >> 1)] > item; at = parent) items[at] = items[parent];
    items[at] = item;
  }

  pop() {
    const items = this.#items;
    const smallest = items[0];
    const last = items.pop();
    let at = 0;
    for (let child; (child = 2 * at + 1) < items.length; at = child) {
      if (items[child + 1] < items[child]) child++;
      if (items[child] >= last) break;
      items[at] = items[child];
    }
    if (items.length) items[at] = last;
    return smallest;
  }
}

// Ids of one piece: merge the leftmost of the neighbors whose joint token has the lowest rank, until no two make a
// token. A heap holds the possible merges, so that a piece of n bytes takes O(n log n) steps.
function mergePiece(binary, ranks) {
  const n = binary.length;
  const parts = [...binary]; // where a part starts: the part; elsewhere undefined
  const next = parts.map((_, i) => i + 1); // where the following part starts
  const previous = parts.map((_, i) => i - 1);
  const rankAt = Array.from({ length: n }, () => Infinity); // of a part together with the following one
  const heap = new Heap(); // numbers rank * n + start, which sort by rank and then from left to right

  function offer(start) {
    const rank = next[start] < n ? ranks.get(parts[start] + parts[next[start]]) : undefined;
    rankAt[start] = rank ?? Infinity;
    if (rankAt[start] < Infinity) heap.push(rankAt[start] * n + start);
  }

  for (let start = 0; start + 1 < n; start++) offer(start);
  for (let entry; (entry = heap.pop()) !== undefined; ) {
    const start = entry % n;
    if (rankAt[start] !== (entry - start) / n) continue; // a merge has changed this pair since
    const right = next[start];
    parts[start] += parts[right];
    parts[right] = undefined;
    rankAt[right] = Infinity;
    next[start] = next[right];
    if (next[start] < n) previous[next[start]] = start;
    offer(start);
    if (start) offer(previous[start]);
  }
  return parts.filter((part) => part !== undefined).map((part) => ranks.get(part));
}

export const ranksOf = (tokens) => new Map(tokens.map((token, id) => [token, id]));

export function encode(text, ranks, pattern = GPT2_PATTERN) {
  return split(text, pattern).flatMap((piece) => {
    const binary = toBinary(toBytes(piece));
    return ranks.get(binary) ?? mergePiece(binary, ranks);
  });
}
