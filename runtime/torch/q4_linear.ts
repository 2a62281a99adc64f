// Products with the 4-bit matrices of llmguide.nn.q4, compiled to WebAssembly by AssemblyScript.
//
// Inputs are rounded to 16 bits, with a scale for each 16 of them, so that one instruction multiplies eight pairs and adds
// neighbors. The weights of a block become 16-bit integers in four registers, which are multiplied by one input. With more
// inputs, four rows are unpacked to memory once, and tiles of 4 rows x 8 inputs stay in registers while a block is summed.
// There is one thread: others cannot share the memory of Pyodide's Python, and would need headers that GitHub Pages does not
// send. Addresses are in bytes.

const BLOCK: i32 = 32; // weights that share a scale
const PART: i32 = 16; // inputs that share a scale
const ROWS: i32 = 4; // of a tile
const INPUTS: i32 = 8;
const CHUNK: i32 = 64; // inputs that are rounded at once, which the cache holds
const FEW: i32 = 3; // inputs that are multiplied one by one
const ONE: i32 = PART * 2 + 16; // bytes of a part of an input, and four times its scale
const INPUT: i32 = PART * 2 + 4; // the same in a tile
const ROW: i32 = BLOCK * 2 + 4; // a block of a row in a tile

/**
 * y[t, r] = x[t] . w[r] for x of (tokens, 32 * blocks) and w of (rows, 32 * blocks), all without gaps. What rounding leaves
 * of x is written to the rest, of the same shape, unless that is 0. The scratch holds 272 * blocks + 320 bytes, and
 * 576 * blocks for each eight tokens of a chunk.
 */
export function q4_linear(
  x: usize, tokens: i32, blocks: i32, rows: i32,
  codes: usize, scales: usize, zeros: usize, rowScales: usize, y: usize, scratch: usize, rest: usize,
): void {
  const sums = (scratch + 63) & ~63; // no load of 16 bytes crosses a line of the cache
  if (tokens <= FEW || rows < ROWS) {
    for (let t = 0; t < tokens; t++) {
      for (let p = 0; p < blocks * 2; p++) {
        const at = (t * blocks * 2 + p) * PART * 4;
        round(x + at, sums + p * ONE, rest && rest + at);
      }
      for (let r = 0, b = 0; r < rows; r++, b += blocks) {
        const sum = one(codes + b * 16, scales + b, zeros + b, blocks, sums);
        store<f32>(y + (t * rows + r) * 4, sum * load<f32>(rowScales + r * 4));
      }
    }
    return;
  }
  const weights = sums + INPUTS * ROWS * 4 + 128;
  const inputs = weights + blocks * ROWS * ROW;
  const step = blocks * 2 * INPUTS * INPUT;
  for (let t = 0; t < tokens; t += CHUNK) {
    const n = min(CHUNK, tokens - t);
    for (let k = 0; k < n; k++) {
      const at = (t + k) * blocks * BLOCK * 4;
      interleave(x + at, blocks, sums, inputs + k / INPUTS * step + k % INPUTS * 4, rest && rest + at);
    }
    for (let next = 0; next < rows; next += ROWS) {
      const r = min(next, rows - ROWS); // the last tile may repeat rows
      for (let i = 0; i < ROWS; i++) {
        const b = (r + i) * blocks;
        unpack(codes + b * 16, scales + b, zeros + b, blocks, weights, i);
      }
      for (let k = 0; k < n; k += INPUTS) {
        multiply(weights, inputs + k / INPUTS * step, blocks, sums);
        for (let i = 0; i < ROWS; i++) {
          const scale = load<f32>(rowScales + (r + i) * 4);
          for (let j = 0; j < min(INPUTS, n - k); j++) {
            store<f32>(y + ((t + k + j) * rows + r + i) * 4, load<f32>(sums + (i * INPUTS + j) * 4) * scale);
          }
        }
      }
    }
  }
}

/** Round a part of an input to 16 bits. */
function round(x: usize, to: usize, rest: usize): void {
  let largest = f32x4.splat(0);
  for (let i = 0; i < PART * 4; i += 16) largest = f32x4.max(largest, f32x4.abs(v128.load(x + i)));
  const scale = max(
    max(f32x4.extract_lane(largest, 0), f32x4.extract_lane(largest, 1)),
    max(f32x4.extract_lane(largest, 2), f32x4.extract_lane(largest, 3)),
  ) / 32767;
  const inverse = f32x4.splat(scale > 0 ? 1 / scale : 0);
  for (let i = 0; i < PART * 4; i += 32) {
    const low = f32x4.nearest(f32x4.mul(v128.load(x + i), inverse));
    const high = f32x4.nearest(f32x4.mul(v128.load(x + i, 16), inverse));
    v128.store(to + i / 2, i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(low), i32x4.trunc_sat_f32x4_s(high)));
    if (rest) {
      v128.store(rest + i, f32x4.sub(v128.load(x + i), f32x4.mul(low, f32x4.splat(scale))));
      v128.store(rest + i, f32x4.sub(v128.load(x + i, 16), f32x4.mul(high, f32x4.splat(scale))), 16);
    }
  }
  v128.store(to, f32x4.splat(scale / 16), PART * 2); // weights are in sixteenths of a code, as zero points are
}

/** Product of a row with an input. */
function one(codes: usize, scales: usize, zeros: usize, blocks: i32, x: usize): f32 {
  let sum = f32x4.splat(0);
  for (let b = 0; b < blocks; b++) {
    const w = v128.load(codes + b * 16), zero = i16x8.splat(load<u8>(zeros + b));
    const w0 = weights(i16x8.shl(w, 4), zero), w1 = weights(w, zero);
    const w2 = weights(i16x8.shr_u(w, 4), zero), w3 = weights(i16x8.shr_u(w, 8), zero);
    const products = f32x4.add(part(w0, w1, x), part(w2, w3, x + ONE));
    sum = f32x4.add(sum, f32x4.mul(products, f32x4.splat(load<u8>(scales + b))));
    x += 2 * ONE;
  }
  return f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1) + f32x4.extract_lane(sum, 2) + f32x4.extract_lane(sum, 3);
}

/** Products of half a block with a part of an input. */
// @ts-ignore: decorator
@inline
function part(w0: v128, w1: v128, x: usize): v128 {
  const products = i32x4.add(i32x4.dot_i16x8_s(w0, v128.load(x)), i32x4.dot_i16x8_s(w1, v128.load(x, 16)));
  return f32x4.mul(f32x4.convert_i32x4_s(products), v128.load(x, PART * 2));
}

/** Eight weights in sixteenths of a code, from words whose second nibble holds the codes. */
// @ts-ignore: decorator
@inline
function weights(words: v128, zero: v128): v128 {
  return i16x8.sub(v128.and(words, i16x8.splat(0xf0)), zero);
}

/** Round an input, and put its pairs of numbers, and the scale of each part, where `multiply` loads them. */
function interleave(x: usize, blocks: i32, block: usize, to: usize, rest: usize): void {
  for (let p = 0; p < blocks * 2; p++) {
    round(x + p * PART * 4, block, rest && rest + p * PART * 4);
    for (let i = 0; i < INPUT; i += 4) store<i32>(to + i * INPUTS, load<i32>(block + i));
    to += INPUTS * INPUT;
  }
}

/** Write the weights of a row, and the scale of each block, where `multiply` loads them. */
function unpack(codes: usize, scales: usize, zeros: usize, blocks: i32, to: usize, row: i32): void {
  for (let b = 0; b < blocks; b++) {
    const w = v128.load(codes + b * 16), zero = i16x8.splat(load<u8>(zeros + b)), at = to + row * BLOCK * 2;
    v128.store(at, weights(i16x8.shl(w, 4), zero));
    v128.store(at, weights(w, zero), 16);
    v128.store(at, weights(i16x8.shr_u(w, 4), zero), 32);
    v128.store(at, weights(i16x8.shr_u(w, 8), zero), 48);
    store<f32>(to + row * 4, <f32>load<u8>(scales + b), ROWS * BLOCK * 2);
    to += ROWS * ROW;
  }
}

/** The sums of a tile, (rows, inputs). The loop is not unrolled, because V8 would then load more than the registers hold. */
function multiply(w: usize, x: usize, blocks: i32, sums: usize): void {
  for (let i = 0; i < ROWS * INPUTS * 4; i += 16) v128.store(sums + i, f32x4.splat(0));
  for (let b = 0; b < blocks; b++) {
    const scales = w + ROWS * BLOCK * 2;
    for (let p = 0; p < 2; p++) {
      let c00 = i32x4.splat(0), c01 = i32x4.splat(0);
      let c10 = i32x4.splat(0), c11 = i32x4.splat(0);
      let c20 = i32x4.splat(0), c21 = i32x4.splat(0);
      let c30 = i32x4.splat(0), c31 = i32x4.splat(0);
      for (const end = w + PART * 2; w < end; w += 4) {
        const x0 = v128.load(x), x1 = v128.load(x, 16);
        const w0 = v128.load32_splat(w), w1 = v128.load32_splat(w, BLOCK * 2);
        const w2 = v128.load32_splat(w, BLOCK * 4), w3 = v128.load32_splat(w, BLOCK * 6);
        c00 = i32x4.add(c00, i32x4.dot_i16x8_s(w0, x0));
        c01 = i32x4.add(c01, i32x4.dot_i16x8_s(w0, x1));
        c10 = i32x4.add(c10, i32x4.dot_i16x8_s(w1, x0));
        c11 = i32x4.add(c11, i32x4.dot_i16x8_s(w1, x1));
        c20 = i32x4.add(c20, i32x4.dot_i16x8_s(w2, x0));
        c21 = i32x4.add(c21, i32x4.dot_i16x8_s(w2, x1));
        c30 = i32x4.add(c30, i32x4.dot_i16x8_s(w3, x0));
        c31 = i32x4.add(c31, i32x4.dot_i16x8_s(w3, x1));
        x += INPUTS * 4;
      }
      const scale0 = v128.load(x), scale1 = v128.load(x, 16);
      add(sums, c00, c01, scale0, scale1, scales);
      add(sums + 32, c10, c11, scale0, scale1, scales + 4);
      add(sums + 64, c20, c21, scale0, scale1, scales + 8);
      add(sums + 96, c30, c31, scale0, scale1, scales + 12);
      x += INPUTS * 4;
    }
    w = scales + ROWS * 4;
  }
}

/** Add the products of half a block with eight inputs. */
// @ts-ignore: decorator
@inline
function add(to: usize, c0: v128, c1: v128, scale0: v128, scale1: v128, scale: usize): void {
  const s = v128.load32_splat(scale);
  v128.store(to, f32x4.add(v128.load(to), f32x4.mul(f32x4.convert_i32x4_s(c0), f32x4.mul(scale0, s))));
  v128.store(to, f32x4.add(v128.load(to, 16), f32x4.mul(f32x4.convert_i32x4_s(c1), f32x4.mul(scale1, s))), 16);
}
