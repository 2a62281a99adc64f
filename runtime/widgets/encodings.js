// Three of OpenAI's encodings: their ranks, as gpt-tokenizer (MIT) carries them, and the encoder of bpe.js.
//
// Its own encoder is not used: its split patterns take JavaScript's \s, which differs from tiktoken's in U+0085 and
// U+FEFF. A test compares ids and bytes with tiktoken's.

import { GPT2_PATTERN, encode, fromBinary, ranksOf, toBinary, toBytes } from "./bpe.js";

const RANKS = new URL("../../assets/vendor/gpt-tokenizer-4.0.0/", import.meta.url);
const END_OF_TEXT = "<|endoftext|>";
const CONTRACTION = "'(?:[sſdmtSDMT]|[lL][lL]|[vV][eE]|[rR][eE])"; // ſ is an s in another case
const SPACES = String.raw`\p{White_Space}+(?!\P{White_Space})`;
const UPPER = String.raw`\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}`;
const LOWER = String.raw`\p{Ll}\p{Lm}\p{Lo}\p{M}`;
const BEFORE = String.raw`[^\r\n\p{L}\p{N}]?`;
const SYMBOLS = String.raw` ?[^\p{White_Space}\p{L}\p{N}]+`;

const oneOf = (...alternatives) => new RegExp(alternatives.join("|"), "gu");

export const ENCODINGS = {
  r50k_base: { models: "GPT-2, GPT-3", endOfText: 50256, pattern: GPT2_PATTERN },
  cl100k_base: {
    models: "GPT-3.5, GPT-4",
    endOfText: 100257,
    pattern: oneOf(
      CONTRACTION,
      BEFORE + String.raw`\p{L}+`,
      String.raw`\p{N}{1,3}`,
      SYMBOLS + String.raw`[\r\n]*`,
      String.raw`\p{White_Space}+$`,
      String.raw`\p{White_Space}*[\r\n]`,
      SPACES,
      String.raw`\p{White_Space}`,
    ),
  },
  o200k_base: {
    models: "GPT-4o and later",
    endOfText: 199999,
    pattern: oneOf(
      `${BEFORE}[${UPPER}]*[${LOWER}]+(?:${CONTRACTION})?`,
      `${BEFORE}[${UPPER}]+[${LOWER}]*(?:${CONTRACTION})?`,
      String.raw`\p{N}{1,3}`,
      SYMBOLS + String.raw`[\r\n/]*`,
      String.raw`\p{White_Space}*[\r\n]+`,
      SPACES,
      String.raw`\p{White_Space}+`,
    ),
  },
};

// Download one encoding. Returns tokenize(text, withSpecial), whose tokens are {id, bytes}; with special tokens,
// <|endoftext|> is one token, else it is text like any other.
export async function load(name) {
  const { pattern, endOfText } = ENCODINGS[name];
  const { default: carried } = await import(new URL(`${name}.js`, RANKS).href);
  const tokens = carried.map((token) => toBinary(typeof token === "string" ? toBytes(token) : token));
  const ranks = ranksOf(tokens);
  const ordinary = (text) => encode(text, ranks, pattern).map((id) => ({ id, bytes: fromBinary(tokens[id]) }));
  const special = { id: endOfText, bytes: Uint8Array.from(toBytes(END_OF_TEXT)) };
  return (text, withSpecial) => {
    const parts = withSpecial ? text.split(END_OF_TEXT) : [text];
    return parts.flatMap((part, i) => (i ? [special, ...ordinary(part)] : ordinary(part)));
  };
}
