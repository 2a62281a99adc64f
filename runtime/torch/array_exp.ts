// Exponentials of float32 numbers in Python's memory, compiled to WebAssembly by AssemblyScript.
//
// numpy's build for the tab calls the C library for one number at a time. Here two are computed at once, in float64, and
// rounded once: exp(x) = 2^k exp(r) with an integer k and |r| <= log(2) / 2, and the power series of exp(r). Addresses are in
// bytes.

/** y[i] = exp(x[i]) for i < n; y may be x. */
export function exp(x: usize, n: i32, y: usize): void {
  const end = x + n * 4;
  for (; x + 8 <= end; x += 8, y += 8) v128.store64_lane(y, two(v128.load64_zero(x)), 0);
  if (x < end) v128.store32_lane(y, two(v128.load32_zero(x)), 0);
}

/** Exponentials of the first two numbers. */
// @ts-ignore: decorator
@inline
function two(numbers: v128): v128 {
  // Beyond these bounds the result is infinite or 0 in float32.
  const x = f64x2.max(f64x2.min(f64x2.promote_low_f32x4(numbers), f64x2.splat(89)), f64x2.splat(-105));
  const k = f64x2.nearest(f64x2.mul(x, f64x2.splat(1 / Math.LN2)));
  const r = f64x2.sub(x, f64x2.mul(k, f64x2.splat(Math.LN2)));
  // r^n / n! up to n = 11, which leaves out less than 2^-46 of the sum; in parts that do not wait for each other.
  const r2 = f64x2.mul(r, r), r4 = f64x2.mul(r2, r2);
  const first = line(f64x2.add(r, f64x2.splat(1)), line(f64x2.splat(1 / 2.0), f64x2.splat(1 / 6.0), r), r2);
  const middle = line(line(f64x2.splat(1 / 24.0), f64x2.splat(1 / 120.0), r), line(f64x2.splat(1 / 720.0), f64x2.splat(1 / 5040.0), r), r2);
  const last = line(line(f64x2.splat(1 / 40320.0), f64x2.splat(1 / 362880.0), r), line(f64x2.splat(1 / 3628800.0), f64x2.splat(1 / 39916800.0), r), r2);
  const sum = line(first, line(middle, last, r4), r4);
  // 2^k: added to a float64 of 1.5 * 2^52, an integer is in the lowest bits; the exponent begins at bit 52.
  const power = i64x2.shl(f64x2.add(k, f64x2.splat(6755399441055744)), 52);
  return f32x4.demote_f64x2_zero(i64x2.add(sum, power));
}

/** a + b x */
// @ts-ignore: decorator
@inline
function line(a: v128, b: v128, x: v128): v128 {
  return f64x2.add(a, f64x2.mul(b, x));
}
