// Softmax of float32 numbers in Python's memory, compiled to WebAssembly by AssemblyScript.

import { decay } from "./wasm/exponentials";
import { count, data, isPlain, size } from "./wasm/arrays";

/**
 * Replace each row of x, along its last axis, by its softmax. With `isCausal`, row i of a matrix has i + 1 numbers, and zeros
 * after them. With `isMasked`, a row of negative infinities becomes zeros, not NaN. Returns false if x has gaps.
 */
export function softmax(x: usize, isCausal: bool, isMasked: bool): bool {
  const n = count(x), width = size(x, 0), height = size(x, 1);
  if (!isPlain(x, x, n)) return false;
  const end = data(x) + n * 4;
  let row = 0;
  for (let from = data(x); from < end; from += width * 4, row++) {
    const to = from + (isCausal ? min(width, row % height + 1) : width) * 4;
    let top: f32 = -Infinity;
    for (let at = from; at < to; at += 4) top = max(top, load<f32>(at));
    if (isMasked && top == -Infinity) top = 0;
    const shift = f32x4.splat(top);
    let sums = f32x4.splat(0);
    let at = from;
    for (; at + 16 <= to; at += 16) {
      const powers = decay(f32x4.sub(v128.load(at), shift));
      v128.store(at, powers);
      sums = f32x4.add(sums, powers);
    }
    for (; at < to; at += 4) {
      const power = decay(f32x4.sub(v128.load32_zero(at), shift));
      v128.store32_lane(at, power, 0);
      sums = f32x4.add(sums, f32x4.replace_lane(f32x4.splat(0), 0, f32x4.extract_lane(power, 0)));
    }
    const halves = f32x4.add(sums, v128.shuffle<i32>(sums, sums, 2, 3, 2, 3));
    let sum = f32x4.extract_lane(halves, 0) + f32x4.extract_lane(halves, 1);
    if (isMasked && sum == 0) sum = 1;
    at = from;
    for (; at + 16 <= to; at += 16) v128.store(at, f32x4.div(v128.load(at), f32x4.splat(sum)));
    for (; at < to; at += 4) store<f32>(at, load<f32>(at) / sum);
    memory.fill(to, 0, from + width * 4 - to);
  }
  return true;
}
