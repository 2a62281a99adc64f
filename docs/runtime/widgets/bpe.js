// Byte-pair encoding as llmguide.bpe and llmguide.tokenizer: the same pieces, the same merges, the same ids.
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

// All neighbouring pairs, each word weighted by its count: the most frequent first, then the smaller pair.
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

// Ids of one piece: merge the leftmost of the neighbours whose joint token ranks lowest, until none is a token.
function mergePiece(binary, ranks) {
  const parts = [...binary];
  for (;;) {
    let lowest = Infinity;
    let at = -1;
    for (let i = 1; i < parts.length; i++) {
      const rank = ranks.get(parts[i - 1] + parts[i]) ?? Infinity;
      if (rank < lowest) [lowest, at] = [rank, i];
    }
    if (at < 0) return parts.map((part) => ranks.get(part));
    parts.splice(at - 1, 2, parts[at - 1] + parts[at]);
  }
}

export const ranksOf = (tokens) => new Map(tokens.map((token, id) => [token, id]));

export function encode(text, ranks, pattern = GPT2_PATTERN) {
  return split(text, pattern).flatMap((piece) => {
    const binary = toBinary(toBytes(piece));
    return ranks.get(binary) ?? mergePiece(binary, ranks);
  });
}
