// GELU and its gradient, compiled to WebAssembly by AssemblyScript: four numbers at once, in one pass over the memory.
// The operations are those of nn/_activations.py and special.py.

import { decay } from "./wasm/exponentials";
import { count, data, isPlain } from "./wasm/arrays";

/**
 * share = Phi(x), the probability that a normal variable is below x, and y = x share. Returns false if an array has gaps or
 * less than four numbers.
 */
export function gelu(x: usize, share: usize, y: usize): bool {
  const n = count(x);
  if (n < 4 || !(isPlain(x, x, n) && isPlain(share, x, n) && isPlain(y, x, n))) return false;
  x = data(x), share = data(share), y = data(y);
  for (let i = 0; i < n; i += 4) {
    const at = min(i, n - 4) * 4; // the last four may be partly done
    const numbers = v128.load(x + at);
    const part = f32x4.mul(f32x4.add(erf(f32x4.mul(numbers, f32x4.splat(Mathf.SQRT1_2))), f32x4.splat(1)), f32x4.splat(0.5));
    v128.store(share + at, part);
    v128.store(y + at, f32x4.mul(numbers, part));
  }
  return true;
}

/** h = g (Phi(x) + x phi(x)) with the normal density phi, for arrays like those above. */
export function gelu_backward(x: usize, share: usize, g: usize, h: usize): void {
  const n = count(x);
  x = data(x), share = data(share), g = data(g), h = data(h);
  for (let i = 0; i < n; i += 4) {
    const at = min(i, n - 4) * 4;
    const numbers = v128.load(x + at);
    const power = decay(f32x4.mul(f32x4.mul(f32x4.splat(-0.5), numbers), numbers));
    const rest = f32x4.mul(f32x4.mul(numbers, power), f32x4.splat(0.3989422804014327)); // 1 / sqrt(2 pi)
    v128.store(h + at, f32x4.mul(v128.load(g + at), f32x4.add(v128.load(share + at), rest)));
  }
}

/** erf_array of special.py. */
// @ts-ignore: decorator
@inline
function erf(x: v128): v128 {
  const z = f32x4.min(f32x4.max(x, f32x4.splat(-4)), f32x4.splat(4));
  const s = f32x4.mul(z, z);
  let p = f32x4.splat(-2.72614225801306e-10);
  p = line(p, s, 2.77068142495902e-08);
  p = line(p, s, -2.10102402082508e-06);
  p = line(p, s, -5.69250639462346e-05);
  p = line(p, s, -7.34990630326855e-04);
  p = line(p, s, -2.95459980854025e-03);
  p = line(p, s, -1.60960333262415e-02);
  let q = f32x4.splat(-1.45660718464996e-05);
  q = line(q, s, -2.13374055278905e-04);
  q = line(q, s, -1.68282697438203e-03);
  q = line(q, s, -7.37332916720468e-03);
  q = line(q, s, -1.42647390514189e-02);
  return f32x4.mul(f32x4.div(p, q), z);
}

// @ts-ignore: decorator
@inline
function line(p: v128, s: v128, c: f32): v128 {
  return f32x4.add(f32x4.mul(p, s), f32x4.splat(c));
}
