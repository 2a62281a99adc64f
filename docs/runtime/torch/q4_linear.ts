// Products with the 4-bit matrices of llmguide.nn.q4, compiled to WebAssembly by AssemblyScript.
//
// The weights stay packed: those of a block become 16-bit integers in four registers, which are multiplied by one or
// eight inputs. Inputs are rounded to 16 bits, with a scale for each block, so that one instruction multiplies eight pairs and
// adds neighbors. Addresses are in bytes.

const BLOCK: i32 = 32; // weights that share a scale
const INPUT: i32 = BLOCK * 2 + 4; // bytes of a block of inputs and its scale

/**
 * y[t, r] = x[t] . w[r] for x of (tokens, 32 * blocks) and w of (rows, 32 * blocks), all without gaps. The scratch holds
 * 68 * blocks * tokens bytes.
 */
export function q4_linear(
  x: usize, tokens: i32, blocks: i32, rows: i32,
  codes: usize, scales: usize, zeros: usize, rowScales: usize, y: usize, scratch: usize,
): void {
  for (let i = 0; i < tokens * blocks; i++) round(x + i * BLOCK * 4, scratch + i * INPUT);
  const step = blocks * INPUT;
  let t = 0;
  for (; t + 8 <= tokens; t += 8) {
    for (let r = 0, b = 0; r < rows; r++, b += blocks) {
      const to = y + (t * rows + r) * 4;
      eight(codes + b * 16, scales + b, zeros + b, load<f32>(rowScales + r * 4), blocks, scratch + t * step, step, to, rows * 4);
    }
  }
  for (; t < tokens; t++) {
    for (let r = 0, b = 0; r < rows; r++, b += blocks) {
      const sum = one(codes + b * 16, scales + b, zeros + b, blocks, scratch + t * step);
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
  store<f32>(to, scale / 16, BLOCK * 2); // weights are in sixteenths of a code, as zero points are
}

/** Product of a row with an input. */
function one(codes: usize, scales: usize, zeros: usize, blocks: i32, x: usize): f32 {
  let sum = f32x4.splat(0);
  for (let b = 0; b < blocks; b++) {
    const w = v128.load(codes + b * 16), zero = i16x8.splat(load<u8>(zeros + b));
    const w0 = weights(i16x8.shl(w, 4), zero), w1 = weights(w, zero);
    const w2 = weights(i16x8.shr_u(w, 4), zero), w3 = weights(i16x8.shr_u(w, 8), zero);
    sum = f32x4.add(sum, product(w0, w1, w2, w3, f32(load<u8>(scales + b)), x));
    x += INPUT;
  }
  return total(sum);
}

/** Products of a row with eight inputs. */
function eight(
  codes: usize, scales: usize, zeros: usize, rowScale: f32, blocks: i32, x: usize, step: i32, y: usize, yStep: i32,
): void {
  let s0 = f32x4.splat(0), s1 = f32x4.splat(0), s2 = f32x4.splat(0), s3 = f32x4.splat(0);
  let s4 = f32x4.splat(0), s5 = f32x4.splat(0), s6 = f32x4.splat(0), s7 = f32x4.splat(0);
  for (let b = 0; b < blocks; b++) {
    const w = v128.load(codes + b * 16), zero = i16x8.splat(load<u8>(zeros + b));
    const w0 = weights(i16x8.shl(w, 4), zero), w1 = weights(w, zero);
    const w2 = weights(i16x8.shr_u(w, 4), zero), w3 = weights(i16x8.shr_u(w, 8), zero);
    const scale = f32(load<u8>(scales + b));
    s0 = f32x4.add(s0, product(w0, w1, w2, w3, scale, x));
    s1 = f32x4.add(s1, product(w0, w1, w2, w3, scale, x + step));
    s2 = f32x4.add(s2, product(w0, w1, w2, w3, scale, x + 2 * step));
    s3 = f32x4.add(s3, product(w0, w1, w2, w3, scale, x + 3 * step));
    s4 = f32x4.add(s4, product(w0, w1, w2, w3, scale, x + 4 * step));
    s5 = f32x4.add(s5, product(w0, w1, w2, w3, scale, x + 5 * step));
    s6 = f32x4.add(s6, product(w0, w1, w2, w3, scale, x + 6 * step));
    s7 = f32x4.add(s7, product(w0, w1, w2, w3, scale, x + 7 * step));
    x += INPUT;
  }
  store<f32>(y, total(s0) * rowScale);
  store<f32>(y + yStep, total(s1) * rowScale);
  store<f32>(y + 2 * yStep, total(s2) * rowScale);
  store<f32>(y + 3 * yStep, total(s3) * rowScale);
  store<f32>(y + 4 * yStep, total(s4) * rowScale);
  store<f32>(y + 5 * yStep, total(s5) * rowScale);
  store<f32>(y + 6 * yStep, total(s6) * rowScale);
  store<f32>(y + 7 * yStep, total(s7) * rowScale);
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
function product(w0: v128, w1: v128, w2: v128, w3: v128, scale: f32, x: usize): v128 {
  const sum = i32x4.add(
    i32x4.add(i32x4.dot_i16x8_s(w0, v128.load(x)), i32x4.dot_i16x8_s(w1, v128.load(x, 16))),
    i32x4.add(i32x4.dot_i16x8_s(w2, v128.load(x, 32)), i32x4.dot_i16x8_s(w3, v128.load(x, 48))),
  );
  return f32x4.mul(f32x4.convert_i32x4_s(sum), f32x4.splat(scale * load<f32>(x, BLOCK * 2)));
}

// @ts-ignore: decorator
@inline
function total(sum: v128): f32 {
  return f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1) + f32x4.extract_lane(sum, 2) + f32x4.extract_lane(sum, 3);
}
