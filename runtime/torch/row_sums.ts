// Sums of float32 rows in Python's memory, all or by an index, compiled to WebAssembly by AssemblyScript: the gradients of a
// bias and of an embedding. They have the order, and so the bits, of numpy's.

import { count, data, isPlain, size } from "./wasm/arrays";

/**
 * sums[index[i]] += rows[i] for float32 rows of a multiple of four numbers, and an index of int64 that is within the bounds.
 * Returns false if the kernel cannot do it.
 */
export function add_rows(sums: usize, index: usize, rows: usize): bool {
  const n = count(index), width = size(sums, 0);
  if (width % 4 || !isPlain(sums, sums, count(sums)) || !isPlain(rows, sums, n * width)) return false;
  if (!isPlain(index, index, n)) return false;
  sums = data(sums), index = data(index), rows = data(rows);
  for (let i = 0; i < n; i++) {
    const sum = sums + load<i32>(index + i * 8) * width * 4; // the low half: there are fewer rows than 2^31
    for (let j = 0; j < width * 4; j += 16, rows += 16) {
      v128.store(sum + j, f32x4.add(v128.load(sum + j), v128.load(rows)));
    }
  }
  return true;
}

/** sums = rows[0] + rows[1] + ... for a matrix; returns as above. */
export function sum_rows(sums: usize, rows: usize): bool {
  const n = size(rows, 1), width = size(rows, 0);
  if (!n || width % 4 || !isPlain(rows, sums, n * width)) return false;
  sums = data(sums), rows = data(rows);
  for (let j = 0; j < width * 4; j += 16) {
    let sum = v128.load(rows + j);
    for (let i = 1; i < n; i++) sum = f32x4.add(sum, v128.load(rows + i * width * 4 + j));
    v128.store(sums + j, sum);
  }
  return true;
}
