// A GPT-2 style decoder as llmguide.models.gpt, one token at a time, with a cache of keys and values.
//
// The weights come from site_tools/export_model.py: gzip of all 16-bit floats, first their lower bytes, then their upper
// bytes (which repeat, so that this order saves a tenth). A test compares the logits with PyTorch's.

const HALF = Float32Array.from({ length: 1 << 16 }, (_, bits) => {
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 1023) / 1024;
  const size = exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14;
  return bits >> 15 ? -size : size;
});

// Tensors by name, from the unzipped bytes and the list of [name, shape].
export function readWeights(bytes, layout) {
  const n = bytes.length / 2;
  const tensors = {};
  let start = 0;
  for (const [name, shape] of layout) {
    const size = shape.reduce((product, side) => product * side, 1);
    tensors[name] = Float32Array.from({ length: size }, (_, i) => HALF[bytes[start + i] | (bytes[n + start + i] << 8)]);
    start += size;
  }
  if (start !== n) throw new Error(`the weights hold ${n} numbers, their layout names ${start}`);
  return tensors;
}

function layerNorm(x, weight, bias, eps) {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  const scale = 1 / Math.sqrt(variance + eps);
  return x.map((value, i) => (value - mean) * scale * weight[i] + bias[i]);
}

// W x + b, W row by row.
function linear(x, weight, bias) {
  const out = new Float32Array(weight.length / x.length);
  for (let row = 0, at = 0; row < out.length; row++) {
    let sum = bias ? bias[row] : 0;
    for (let i = 0; i < x.length; i++, at++) sum += weight[at] * x[i];
    out[row] = sum;
  }
  return out;
}

const gelu = (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

export class GPT {
  constructor(config, tensors) {
    this.config = config;
    this.tensors = tensors;
  }

  // Keys and values of each layer, still without a token.
  emptyCache() {
    const { n_layers, context_length, d_model } = this.config;
    const make = () => Array.from({ length: n_layers }, () => new Float32Array(context_length * d_model));
    return { length: 0, keys: make(), values: make() };
  }

  // Read one token. Returns the logits of the next one, and in `attention[layer][head]` what the token looked at:
  // one weight for each position up to its own.
  read(id, cache) {
    const { d_model, n_layers, context_length, norm_eps } = this.config;
    const get = (name) => this.tensors[name];
    const position = cache.length;
    if (position >= context_length) throw new RangeError(`the model reads at most ${context_length} tokens`);
    let x = new Float32Array(d_model);
    for (let i = 0; i < d_model; i++) {
      x[i] = get("tokens.weight")[id * d_model + i] + get("positions.weight")[position * d_model + i];
    }
    const attention = [];
    for (let layer = 0; layer < n_layers; layer++) {
      const part = (name) => [get(`blocks.${layer}.${name}.weight`), get(`blocks.${layer}.${name}.bias`)];
      const normed = layerNorm(x, ...part("attention_norm"), norm_eps);
      cache.keys[layer].set(linear(normed, ...part("attention.k_proj")), position * d_model);
      cache.values[layer].set(linear(normed, ...part("attention.v_proj")), position * d_model);
      const query = linear(normed, ...part("attention.q_proj"));
      const { mixed, weights } = this.#attend(query, cache.keys[layer], cache.values[layer], position + 1);
      attention.push(weights);
      const attended = linear(mixed, ...part("attention.o_proj"));
      x = x.map((value, i) => value + attended[i]);
      const hidden = linear(layerNorm(x, ...part("feed_forward_norm"), norm_eps), ...part("feed_forward.up"));
      const fed = linear(hidden.map(gelu), ...part("feed_forward.down"));
      x = x.map((value, i) => value + fed[i]);
    }
    cache.length++;
    const final = layerNorm(x, get("final_norm.weight"), get("final_norm.bias"), norm_eps);
    return { logits: linear(final, get("tokens.weight")), attention };
  }

  #attend(query, keys, values, length) {
    const { n_heads, d_model, head_dim } = this.config;
    const mixed = new Float32Array(d_model);
    const weights = [];
    for (let head = 0; head < n_heads; head++) {
      const first = head * head_dim;
      const row = new Float32Array(length);
      for (let t = 0; t < length; t++) {
        let score = 0;
        for (let i = 0; i < head_dim; i++) score += query[first + i] * keys[t * d_model + first + i];
        row[t] = score / Math.sqrt(head_dim);
      }
      const largest = Math.max(...row);
      let total = 0;
      for (let t = 0; t < length; t++) total += row[t] = Math.exp(row[t] - largest);
      for (let t = 0; t < length; t++) {
        row[t] /= total;
        for (let i = 0; i < head_dim; i++) mixed[first + i] += row[t] * values[t * d_model + first + i];
      }
      weights.push(row);
    }
    return { mixed, weights };
  }
}
