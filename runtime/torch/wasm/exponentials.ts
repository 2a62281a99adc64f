// Exponentials of float32 numbers in registers: exp(x) = 2^k exp(r) with an integer k and |r| <= log(2) / 2.

/**
 * Exponentials of four numbers up to 0, in float32: a third of the time, and an error of one unit in the last place. Below
 * exp(-87), where float32 loses digits, they are 0. The constants are those of Cephes: log(2) in two parts, the first short.
 */
// @ts-ignore: decorator
@inline
export function decay(x: v128): v128 {
  const k = f32x4.nearest(f32x4.mul(x, f32x4.splat(1 / Mathf.LN2)));
  const r = f32x4.sub(f32x4.sub(x, f32x4.mul(k, f32x4.splat(0.693359375))), f32x4.mul(k, f32x4.splat(-2.12194440e-4)));
  let p = f32x4.splat(1.9875691500e-4);
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.3981999507e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(8.3334519073e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(4.1665795894e-2));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.6666665459e-1));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(5.0000001201e-1));
  p = f32x4.add(f32x4.add(f32x4.mul(f32x4.mul(p, r), r), r), f32x4.splat(1));
  const power = i32x4.add(p, i32x4.shl(i32x4.trunc_sat_f32x4_s(k), 23));
  return v128.andnot(power, f32x4.lt(x, f32x4.splat(-87)));
}

/** Exponentials of the first two numbers, computed in float64 with the power series of exp(r), and rounded once. */
// @ts-ignore: decorator
@inline
export function two(numbers: v128): v128 {
  // Beyond these bounds the result is infinite or 0 in float32.
  const x = f64x2.pmax(f64x2.pmin(f64x2.promote_low_f32x4(numbers), f64x2.splat(89)), f64x2.splat(-105));
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
