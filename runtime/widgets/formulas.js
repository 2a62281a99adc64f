// Sizes, costs and bytes of models, as llmguide.config.model_config and llmguide.costs, whose names they share.
// A config is a ModelConfig as JSON. The sources of each formula stand with its Python namesake, and a test compares
// the two on a grid of inputs.

const sum = (parts) => Object.values(parts).reduce((total, part) => total + part, 0);

function requirePositive(values) {
  for (const [name, value] of Object.entries(values)) {
    if (!(value > 0 && value < Infinity)) throw new RangeError(`${name} must be a number above 0, not ${value}`);
  }
}

// ---- llmguide.config.model_config -----------------------------------------------------------------------------------------

export function nParamsByPart(config) {
  const { d_model: d, n_layers, n_heads, n_kv_heads, head_dim } = config;
  const isTwoStacks = config.architecture === "encoder-decoder";
  const stacks = isTwoStacks ? 2 : 1;
  const layers = n_layers * stacks;
  const crossLayers = isTwoStacks ? n_layers : 0;
  const isUntied = !config.tie_embeddings && config.architecture !== "encoder";
  const norm = d * (config.norm === "layernorm" ? 2 : 1);
  const query = n_heads * head_dim;
  const keyValue = 2 * n_kv_heads * head_dim;
  const attention =
    d * (query + keyValue) +
    query * d +
    config.qkv_bias * (query + keyValue) +
    config.bias * d +
    config.qk_norm * 2 * head_dim;
  return {
    token_embedding: config.vocab_size * d * (isUntied ? stacks : 1),
    position_embedding: stacks * config.context_length * d * Number(config.positions === "learned"),
    token_type_embedding: config.n_token_types * d,
    embedding_norm: stacks * norm * config.embedding_norm,
    attention: layers * attention,
    cross_attention: crossLayers * attention,
    feed_forward: layers * Math.max(1, config.n_experts) * oneFeedForward(config),
    router: layers * config.n_experts * d,
    norms: (2 * layers + crossLayers) * norm,
    final_norm: stacks * norm * Number(config.norm_position === "pre"),
    pooler: (d * d + d) * config.pooler,
    head: config.vocab_size * d * Number(isUntied),
  };
}

function oneFeedForward({ activation, d_model, d_ff, bias }) {
  const into = activation === "swiglu" ? 2 : 1; // gate and up, or up alone
  return (into + 1) * d_model * d_ff + bias * (into * d_ff + d_model);
}

export const nParams = (config) => sum(nParamsByPart(config));

export function nActiveParams(config) {
  const blocks = config.n_layers * (config.architecture === "encoder-decoder" ? 2 : 1);
  return nParams(config) - blocks * (config.n_experts - config.n_experts_per_token) * oneFeedForward(config);
}

// ---- llmguide.costs.flops, gpus and scaling_laws ------------------------------------------------------------------------

export function trainingFlops(nParams, nTokens) {
  requirePositive({ parameters: nParams, tokens: nTokens });
  return 6 * nParams * nTokens;
}

export function forwardFlopsPerToken(config, nTokens) {
  requirePositive({ tokens: nTokens });
  const { d_model: d, n_heads, n_kv_heads, head_dim } = config;
  const query = n_heads * head_dim;
  const visible = Math.min(nTokens, config.sliding_window ?? nTokens);
  const matrices = config.activation === "swiglu" ? 3 : 2;
  const eachLayer = {
    projections: 2 * (2 * d * query + 2 * d * n_kv_heads * head_dim),
    scores: 2 * visible * query,
    values: 2 * visible * query,
    feed_forward: 2 * Math.max(1, config.n_experts_per_token) * matrices * d * config.d_ff,
    router: 2 * d * config.n_experts,
  };
  const parts = Object.entries(eachLayer).map(([part, flops]) => [part, config.n_layers * flops]);
  return { ...Object.fromEntries(parts), head: config.architecture === "decoder" ? 2 * config.vocab_size * d : 0 };
}

export function kaplanLoss(nParams, nTokens) {
  requirePositive({ parameters: nParams, tokens: nTokens });
  const [alphaN, alphaD, nC, dC] = [0.076, 0.103, 6.4e13, 1.8e13];
  return ((nC / nParams) ** (alphaN / alphaD) + dC / nTokens) ** alphaD;
}

export const FITS = {
  HOFFMANN_ROUNDED: { E: 1.69, A: 406.4, B: 410.7, alpha: 0.34, beta: 0.28 },
  HOFFMANN: { E: 1.6934, A: 406.4, B: 410.7, alpha: 0.3392, beta: 0.2849 },
  BESIROGLU: { E: 1.8172, A: 482.01, B: 2085.43, alpha: 0.3478, beta: 0.3658 },
};

export function chinchillaLoss(nParams, nTokens, { E, A, B, alpha, beta }) {
  requirePositive({ parameters: nParams, tokens: nTokens });
  return E + A / nParams ** alpha + B / nTokens ** beta;
}

export function chinchillaOptimal(flops, tokensPerParam = 20) {
  requirePositive({ FLOPs: flops, "tokens per parameter": tokensPerParam });
  const nParams = Math.sqrt(flops / (6 * tokensPerParam));
  return [nParams, tokensPerParam * nParams];
}

export function parametricOptimal(flops, { A, B, alpha, beta }) {
  requirePositive({ FLOPs: flops });
  const g = ((alpha * A) / (beta * B)) ** (1 / (alpha + beta));
  const nParams = g * (flops / 6) ** (beta / (alpha + beta));
  return [nParams, flops / (6 * nParams)];
}

export function gpuHours(flops, peakFlops, utilization) {
  requirePositive({ FLOPs: flops, "peak FLOP/s": peakFlops, utilization });
  if (utilization > 1) throw new RangeError(`utilization ${utilization} is a fraction: at most 1`);
  return flops / (utilization * peakFlops) / 3600;
}

// ---- llmguide.costs.memory and linear_layers ------------------------------------------------------------------------

export function modelStateBytes(nParams, zeroStage, nDevices) {
  requirePositive({ parameters: nParams, devices: nDevices });
  return {
    weights: (2 * nParams) / (zeroStage >= 3 ? nDevices : 1),
    gradients: (2 * nParams) / (zeroStage >= 2 ? nDevices : 1),
    optimizer: (12 * nParams) / (zeroStage >= 1 ? nDevices : 1),
  };
}

export function activationBytes(config, nTokens, batch, recompute) {
  requirePositive({ tokens: nTokens, sequences: batch });
  const values = config.n_layers * batch * nTokens * config.d_model;
  const scores = config.n_layers * batch * nTokens ** 2 * config.n_heads;
  return { none: 34 * values + 5 * scores, selective: 34 * values, full: 2 * values }[recompute];
}

export function kvCacheBytesPerToken(config, bytesPerValue) {
  requirePositive({ "bytes per value": bytesPerValue });
  return 2 * config.n_layers * config.n_kv_heads * config.head_dim * bytesPerValue;
}

export function kvCacheBytes(config, nTokens, batch, bytesPerValue) {
  requirePositive({ tokens: nTokens, sequences: batch });
  return batch * Math.min(nTokens, config.sliding_window ?? nTokens) * kvCacheBytesPerToken(config, bytesPerValue);
}

export function linearShapes({ d_model: d, n_heads, n_kv_heads, head_dim, d_ff, activation }) {
  const query = n_heads * head_dim;
  const keyValue = n_kv_heads * head_dim;
  return {
    q_proj: [d, query],
    k_proj: [d, keyValue],
    v_proj: [d, keyValue],
    o_proj: [query, d],
    ...(activation === "swiglu" && { gate: [d, d_ff] }),
    up: [d, d_ff],
    down: [d_ff, d],
  };
}

const copies = (config, name) =>
  config.n_layers * (["gate", "up", "down"].includes(name) ? Math.max(1, config.n_experts) : 1);

export function loraParams(config, rank, targets) {
  requirePositive({ rank });
  const shapes = linearShapes(config);
  return rank * targets.reduce((total, name) => total + (shapes[name][0] + shapes[name][1]) * copies(config, name), 0);
}

export const nf4Bits = (blockSize = 64, scaleBlockSize = 256) => 4 + 8 / blockSize + 32 / (blockSize * scaleBlockSize);

export function quantizedBytes(config, bits) {
  requirePositive({ bits });
  const shapes = Object.entries(linearShapes(config));
  const quantized = shapes.reduce((total, [name, [n, m]]) => total + n * m * copies(config, name), 0);
  return (quantized * bits) / 8 + (nParams(config) - quantized) * 2;
}

// ---- scale, in words -------------------------------------------------------------------------------------------

const YEAR = 365.25 * 24 * 3600; // seconds
export const GRAIN = 0.025; // grams, an assumption: a grain of rice weighs 20 to 30 mg
export const WORDS_A_TOKEN = 0.7;
export const WORDS_A_MINUTE = 250;

// The numbers of "Try it: understanding scale" in the introduction, whose cell computes the same.
export function pictures(nParams, nTokens) {
  const flops = trainingFlops(nParams, nTokens);
  return {
    riceTonnes: (nParams * GRAIN) / 1e6,
    countingYears: nParams / YEAR,
    bytes: 2 * nParams,
    readingYears: (((nTokens * WORDS_A_TOKEN) / WORDS_A_MINUTE) * 60) / YEAR,
    flops,
    yearsAtTeraflop: flops / 1e12 / YEAR,
  };
}
