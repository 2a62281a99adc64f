// The small model of the play pages: trained by `llmguide pretrain`, exported by site_tools/export_model.py.

import { GPT, readWeights } from "./gpt.js";
import { byteTokens, encode, fromBinary, ranksOf, toBytes } from "./bpe.js";

const FOLDER = new URL("../../assets/model/", import.meta.url);
const END_OF_TEXT = "<|endoftext|>";

async function fetched(name) {
  const response = await fetch(new URL(name, FOLDER));
  if (!response.ok) throw new Error(`${name} is not there (${response.status})`);
  return response;
}

let opened;

// Model and tokenizer; downloaded once a visit, whatever widget asks first.
export function openModel() {
  opened ??= download().catch((error) => {
    opened = undefined; // the next press tries again
    throw error;
  });
  return opened;
}

async function download() {
  const [description, zipped] = await Promise.all([
    fetched("model.json").then((response) => response.json()),
    fetched("weights.bin").then((response) => response.body),
  ]);
  const bytes = await new Response(zipped.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  const model = new GPT(description.config, readWeights(new Uint8Array(bytes), description.tensors));
  const tokens = [...byteTokens(), ...description.tokens];
  const ranks = ranksOf(tokens);
  const endOfText = description.special_tokens[END_OF_TEXT];
  return {
    model,
    // Ids of a text as the model reads it: the end of an earlier document stands before it.
    encode: (text) => [endOfText, ...encode(text, ranks)],
    bytesOf: (id) => (id === endOfText ? Uint8Array.from(toBytes(END_OF_TEXT)) : fromBinary(tokens[id])),
    endOfText,
  };
}
