// Products with the 4-bit matrices of llmguide.nn.q4, compiled to WebAssembly by AssemblyScript.
//
// The weights stay packed: those of a block become 16-bit integers in four registers, which are multiplied by one or
// eight inputs. Inputs are rounded to 16 bits, with a scale for each block, so that one instruction multiplies eight pairs and
// adds neighbors. Addresses are in bytes.

const BLOCK: i32 = 32; // weights that share a scale
const GROUP: i32 = 8; // inputs that are multiplied by a row at once
const INPUT: i32 = BLOCK * 2 + 16; // bytes of a block of inputs, and four times its scale

/**
 * y[t, r] = x[t] . w[r] for x of (tokens, 32 * blocks) and w of (rows, 32 * blocks), all without gaps. The scratch holds
 * 640 * blocks + 144 bytes.
 */
export function q4_linear(
  x: usize, tokens: i32, blocks: i32, rows: i32,
  codes: usize, scales: usize, zeros: usize, rowScales: usize, y: usize, scratch: usize,
): void {
  const sums = (scratch + 15) & ~15; // no load of 16 bytes crosses a line of the cache
  const inputs = sums + GROUP * 16;
  let t = 0;
  for (; t + GROUP <= tokens; t += GROUP) {
    for (let b = 0; b < blocks; b++) { // the blocks of a group side by side
      for (let k = 0; k < GROUP; k++) round(x + ((t + k) * blocks + b) * BLOCK * 4, inputs + (b * GROUP + k) * INPUT);
    }
    for (let r = 0, b = 0; r < rows; r++, b += blocks) {
      const to = y + (t * rows + r) * 4;
      eight(codes + b * 16, scales + b, zeros + b, load<f32>(rowScales + r * 4), blocks, inputs, sums, to, rows * 4);
    }
  }
  for (; t < tokens; t++) {
    for (let b = 0; b < blocks; b++) round(x + (t * blocks + b) * BLOCK * 4, inputs + b * INPUT);
    for (let r = 0, b = 0; r < rows; r++, b += blocks) {
      const sum = one(codes + b * 16, scales + b, zeros + b, blocks, inputs);
      store<f32>(y + (t * rows + r) * 4, sum * load<f32>(rowScales + r * 4));
    }
  }
}

/** Round a block of inputs to 16 bits. */
function round(x: usize, to: usize): void {
  let largest = f32x4.splat(0);
  for (let i = 0; i < BLOCK * 4; i += 16) largest = f32x4.max(largest, f32x4.abs(v128.load(x + i)));
  const scale = max(
    max(f32x4.extract_lane(largest, 0), f32x4.extract_lane(largest, 1)),
    max(f32x4.extract_lane(largest, 2), f32x4.extract_lane(largest, 3)),
  ) / 32767;
  const inverse = f32x4.splat(scale > 0 ? 1 / scale : 0);
  for (let i = 0; i < BLOCK * 4; i += 32) {
    const low = f32x4.nearest(f32x4.mul(v128.load(x + i), inverse));
    const high = f32x4.nearest(f32x4.mul(v128.load(x + i, 16), inverse));
    v128.store(to + i / 2, i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(low), i32x4.trunc_sat_f32x4_s(high)));
  }
  v128.store(to, f32x4.splat(scale / 16), BLOCK * 2); // weights are in sixteenths of a code, as zero points are
}

/** Product of a row with an input. */
function one(codes: usize, scales: usize, zeros: usize, blocks: i32, x: usize): f32 {
  let sum = f32x4.splat(0);
  for (let b = 0; b < blocks; b++) {
    const w = v128.load(codes + b * 16), zero = i16x8.splat(load<u8>(zeros + b));
    const w0 = weights(i16x8.shl(w, 4), zero), w1 = weights(w, zero);
    const w2 = weights(i16x8.shr_u(w, 4), zero), w3 = weights(i16x8.shr_u(w, 8), zero);
    sum = f32x4.add(sum, product(w0, w1, w2, w3, f32x4.splat(load<u8>(scales + b)), x));
    x += INPUT;
  }
  return total(sum);
}

/**
 * Products of a row with eight inputs. The sums are in memory, which keeps the products apart: V8 loads what lies
 * between two stores at once, and eight inputs do not fit the registers.
 */
function eight(
  codes: usize, scales: usize, zeros: usize, rowScale: f32, blocks: i32, x: usize, sums: usize, y: usize, yStep: i32,
): void {
  for (let k = 0; k < GROUP; k++) v128.store(sums + k * 16, f32x4.splat(0));
  for (let b = 0; b < blocks; b++) {
    const w = v128.load(codes + b * 16), zero = i16x8.splat(load<u8>(zeros + b));
    const w0 = weights(i16x8.shl(w, 4), zero), w1 = weights(w, zero);
    const w2 = weights(i16x8.shr_u(w, 4), zero), w3 = weights(i16x8.shr_u(w, 8), zero);
    const scale = f32x4.splat(load<u8>(scales + b));
    add(sums, product(w0, w1, w2, w3, scale, x));
    add(sums + 16, product(w0, w1, w2, w3, scale, x + INPUT));
    add(sums + 32, product(w0, w1, w2, w3, scale, x + 2 * INPUT));
    add(sums + 48, product(w0, w1, w2, w3, scale, x + 3 * INPUT));
    add(sums + 64, product(w0, w1, w2, w3, scale, x + 4 * INPUT));
    add(sums + 80, product(w0, w1, w2, w3, scale, x + 5 * INPUT));
    add(sums + 96, product(w0, w1, w2, w3, scale, x + 6 * INPUT));
    add(sums + 112, product(w0, w1, w2, w3, scale, x + 7 * INPUT));
    x += GROUP * INPUT;
  }
  for (let k = 0; k < GROUP; k++) store<f32>(y + k * yStep, total(v128.load(sums + k * 16)) * rowScale);
}

/** Eight weights in sixteenths of a code, from words whose second nibble holds the codes. */
// @ts-ignore: decorator
@inline
function weights(words: v128, zero: v128): v128 {
  return i16x8.sub(v128.and(words, i16x8.splat(0xf0)), zero);
}

/** Products of a block of weights with a block of inputs, summed in four lanes. */
// @ts-ignore: decorator
@inline
function product(w0: v128, w1: v128, w2: v128, w3: v128, scale: v128, x: usize): v128 {
  const sum = i32x4.add(
    i32x4.add(i32x4.dot_i16x8_s(w0, v128.load(x)), i32x4.dot_i16x8_s(w1, v128.load(x, 16))),
    i32x4.add(i32x4.dot_i16x8_s(w2, v128.load(x, 32)), i32x4.dot_i16x8_s(w3, v128.load(x, 48))),
  );
  return f32x4.mul(f32x4.convert_i32x4_s(sum), f32x4.mul(v128.load(x, BLOCK * 2), scale));
}

// @ts-ignore: decorator
@inline
function add(to: usize, value: v128): void {
  v128.store(to, f32x4.add(v128.load(to), value));
}

// @ts-ignore: decorator
@inline
function total(sum: v128): f32 {
  return f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1) + f32x4.extract_lane(sum, 2) + f32x4.extract_lane(sum, 3);
}
