// Dequantizes rows of the 4-bit matrices of llmguide.nn.q4, compiled to WebAssembly by AssemblyScript.
//
// Training needs the weights in float32: the products of array_matmul.ts are exact enough for gradients, and the gradient of an
// input is a product with the same rows, not transposed. Addresses are in bytes.

/** Write rows of (32 * blocks) weights without gaps; the codes of a block are eight words of four nibbles. */
export function q4_rows(
  codes: usize, scales: usize, zeros: usize, rowScales: usize, rows: i32, blocks: i32, to: usize,
): void {
  for (let r = 0; r < rows; r++) {
    const rowScale = load<f32>(rowScales + r * 4);
    for (let b = 0; b < blocks; b++) {
      const words = v128.load(codes);
      const scale = f32x4.splat(rowScale * <f32>load<u8>(scales));
      const zero = f32x4.splat(<f32>load<u8>(zeros) / 16);
      put(words, zero, scale, to);
      put(i16x8.shr_u(words, 4), zero, scale, to + 32);
      put(i16x8.shr_u(words, 8), zero, scale, to + 64);
      put(i16x8.shr_u(words, 12), zero, scale, to + 96);
      codes += 16;
      scales++;
      zeros++;
      to += 128;
    }
  }
}

/** Eight weights, whose codes are the lowest nibbles of the words. */
// @ts-ignore: decorator
@inline
function put(words: v128, zero: v128, scale: v128, to: usize): void {
  const nibbles = v128.and(words, i16x8.splat(15));
  const low = f32x4.convert_i32x4_u(i32x4.extend_low_i16x8_u(nibbles));
  const high = f32x4.convert_i32x4_u(i32x4.extend_high_i16x8_u(nibbles));
  v128.store(to, f32x4.mul(f32x4.sub(low, zero), scale));
  v128.store(to, f32x4.mul(f32x4.sub(high, zero), scale), 16);
}
