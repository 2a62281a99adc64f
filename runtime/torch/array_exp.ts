// Exponentials of float32 numbers in Python's memory, compiled to WebAssembly by AssemblyScript.
//
// numpy's build for the tab calls the C library for one number at a time. Here two are computed at once. Addresses are in bytes.

import { two } from "./wasm/exponentials";

/** y[i] = exp(x[i]) for i < n; y may be x. */
export function exp(x: usize, n: i32, y: usize): void {
  const end = x + n * 4;
  for (; x + 8 <= end; x += 8, y += 8) v128.store64_lane(y, two(v128.load64_zero(x)), 0);
  if (x < end) v128.store32_lane(y, two(v128.load32_zero(x)), 0);
}
