// Where CPython and numpy keep things in the 32-bit memory of WebAssembly: `id(object)` is an address, and to read
// the fields costs nothing, while an array's `__array_interface__` takes as long as a small operation.

/** Address of the first element of an array. */
// @ts-ignore: decorator
@inline
export function data(array: usize): usize {
  return load<usize>(array, 8);
}

/** Size of an axis counted from the last one, 0; 1 beyond the first. */
export function size(array: usize, fromLast: i32): i32 {
  const axis = load<i32>(array, 12) - 1 - fromLast;
  return axis < 0 ? 1 : load<i32>(load<usize>(array, 16) + axis * 4);
}

/** Bytes from one element to the next along an axis counted from the last one; 0 if the axis is to be broadcast. */
export function stride(array: usize, fromLast: i32): i32 {
  if (size(array, fromLast) == 1) return 0;
  return load<i32>(load<usize>(array, 20) + (load<i32>(array, 12) - 1 - fromLast) * 4);
}

/** Number of elements. */
export function count(array: usize): i32 {
  let n = 1;
  for (let axis = load<i32>(array, 12) - 1; axis >= 0; axis--) n *= load<i32>(load<usize>(array, 16) + axis * 4);
  return n;
}

/** Whether an array has n elements of the same type as another, in their order and without gaps. */
export function isPlain(array: usize, like: usize, n: i32): bool {
  const isPacked = (load<i32>(array, 32) & 1) != 0; // C_CONTIGUOUS
  return isPacked && load<usize>(array, 28) == load<usize>(like, 28) && count(array) == n;
}

/** Whether an array can be written to. */
export function isWriteable(array: usize): bool {
  return (load<i32>(array, 32) & 0x400) != 0;
}
