// Layer normalization and its gradients, compiled to WebAssembly by AssemblyScript: four numbers at once. All arrays are
// float32; the width of a row is a multiple of 4. Without the mean it is RMSNorm.

import { count, data, isPlain } from "./wasm/arrays";

/**
 * For each row of x, normal = (x - mean) scale with scale = 1 / sqrt(variance + eps), and y = normal gain + bias. Gain and
 * bias may be missing (0). Returns false if the kernel cannot do it.
 */
export function norm(
  x: usize, gain: usize, bias: usize, y: usize, normal: usize, scale: usize, eps: f32, centered: bool,
): bool {
  const rows = count(scale), n = count(x), width = rows ? n / rows : 0;
  if (!width || width % 4 || !(isPlain(x, x, n) && isPlain(y, x, n) && isPlain(normal, x, n))) return false;
  if ((gain && !isPlain(gain, x, width)) || (bias && !isPlain(bias, x, width))) return false;
  const end = width * 4;
  x = data(x), y = data(y), normal = data(normal), scale = data(scale);
  gain = gain && data(gain), bias = bias && data(bias);
  for (let row = 0; row < rows; row++, x += end, y += end, normal += end, scale += 4) {
    let sum = f32x4.splat(0), squares = f32x4.splat(0);
    if (centered) for (let i = 0; i < end; i += 16) sum = f32x4.add(sum, v128.load(x + i));
    const mean = f32x4.splat(total(sum) / <f32>width);
    for (let i = 0; i < end; i += 16) {
      const distance = f32x4.sub(v128.load(x + i), mean);
      squares = f32x4.add(squares, f32x4.mul(distance, distance));
    }
    const factor: f32 = 1 / sqrt<f32>(total(squares) / <f32>width + eps);
    store<f32>(scale, factor);
    for (let i = 0; i < end; i += 16) {
      let number = f32x4.mul(f32x4.sub(v128.load(x + i), mean), f32x4.splat(factor));
      v128.store(normal + i, number);
      if (gain) number = f32x4.mul(number, v128.load(gain + i));
      if (bias) number = f32x4.add(number, v128.load(bias + i));
      v128.store(y + i, number);
    }
  }
  return true;
}

/**
 * Write the gradient of x for the gradient g of y to h, and add those of gain and bias to arrays. Gain and each result may be
 * missing (0). The arrays are like those above.
 */
export function norm_backward(
  g: usize, gain: usize, normal: usize, scale: usize, h: usize, ofGain: usize, ofBias: usize, centered: bool,
): void {
  const rows = count(scale), width = rows ? count(g) / rows : 0;
  const end = width * 4;
  g = data(g), normal = data(normal), scale = data(scale), h = data(h);
  gain = gain && data(gain), ofGain = ofGain && data(ofGain), ofBias = ofBias && data(ofBias);
  for (let row = 0; row < rows; row++, g += end, normal += end, h += end, scale += 4) {
    let sum = f32x4.splat(0), product = f32x4.splat(0);
    for (let i = 0; i < end; i += 16) {
      let number = v128.load(g + i);
      const times = f32x4.mul(number, v128.load(normal + i));
      if (ofGain) v128.store(ofGain + i, f32x4.add(v128.load(ofGain + i), times));
      if (ofBias) v128.store(ofBias + i, f32x4.add(v128.load(ofBias + i), number));
      if (gain) number = f32x4.mul(number, v128.load(gain + i));
      v128.store(h + i, number);
      sum = f32x4.add(sum, number);
      product = f32x4.add(product, f32x4.mul(number, v128.load(normal + i)));
    }
    const mean = f32x4.splat(centered ? total(sum) / <f32>width : 0), share = f32x4.splat(total(product) / <f32>width);
    const factor = v128.load32_splat(scale);
    for (let i = 0; i < end; i += 16) {
      const rest = f32x4.sub(f32x4.sub(v128.load(h + i), mean), f32x4.mul(v128.load(normal + i), share));
      v128.store(h + i, f32x4.mul(rest, factor));
    }
  }
}

/** Sum of four numbers. */
// @ts-ignore: decorator
@inline
function total(numbers: v128): f32 {
  const pair = f32x4.add(numbers, v128.shuffle<i32>(numbers, numbers, 2, 3, 2, 3));
  return f32x4.extract_lane(pair, 0) + f32x4.extract_lane(pair, 1);
}
