// One step of Adam, compiled to WebAssembly by AssemblyScript: four numbers at once, in one pass over the memory. The
// operations are those of _step in optim/adam.py, in its order, so every bit is equal.

import { count, data, isPlain, isWriteable } from "./wasm/arrays";

/**
 * Update the parameter p and its moments m and v for the gradient g, all float32. Returns false, and changes nothing, if the
 * arrays have gaps, cannot be written to or differ in size.
 */
export function adam_step(
  p: usize, g: usize, m: usize, v: usize,
  keep: f32, weight: f32, beta2: f32, weight2: f32, root: f32, eps: f32, rate: f32,
): bool {
  const n = count(p);
  if (!(isWriteable(p) && isWriteable(m) && isWriteable(v))) return false;
  if (!(isPlain(p, p, n) && isPlain(g, p, n) && isPlain(m, p, n) && isPlain(v, p, n))) return false;
  p = data(p), g = data(g), m = data(m), v = data(v);
  let i = 0;
  for (; i + 4 <= n; i += 4, p += 16, g += 16, m += 16, v += 16) {
    const gradient = v128.load(g);
    const mean = moved(v128.load(m), gradient, weight);
    const square = blended(v128.load(v), gradient, beta2, weight2);
    v128.store(m, mean);
    v128.store(v, square);
    v128.store(p, stepped(v128.load(p), mean, square, keep, root, eps, rate));
  }
  for (; i < n; i++, p += 4, g += 4, m += 4, v += 4) {
    const gradient = v128.load32_zero(g);
    const mean = moved(v128.load32_zero(m), gradient, weight);
    const square = blended(v128.load32_zero(v), gradient, beta2, weight2);
    v128.store32_lane(m, mean, 0);
    v128.store32_lane(v, square, 0);
    v128.store32_lane(p, stepped(v128.load32_zero(p), mean, square, keep, root, eps, rate), 0);
  }
  return true;
}

// @ts-ignore: decorator
@inline
function moved(m: v128, g: v128, weight: f32): v128 {
  return f32x4.add(m, f32x4.mul(f32x4.sub(g, m), f32x4.splat(weight)));
}

// @ts-ignore: decorator
@inline
function blended(v: v128, g: v128, beta: f32, weight: f32): v128 {
  return f32x4.add(f32x4.mul(v, f32x4.splat(beta)), f32x4.mul(f32x4.mul(g, g), f32x4.splat(weight)));
}

// @ts-ignore: decorator
@inline
function stepped(p: v128, m: v128, v: v128, keep: f32, root: f32, eps: f32, rate: f32): v128 {
  const scale = f32x4.add(f32x4.div(f32x4.sqrt(v), f32x4.splat(root)), f32x4.splat(eps));
  return f32x4.sub(f32x4.mul(p, f32x4.splat(keep)), f32x4.mul(f32x4.div(m, scale), f32x4.splat(rate)));
}
