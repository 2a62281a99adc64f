// Products of float32 matrices in Python's memory, compiled to WebAssembly by AssemblyScript.
//
// numpy's build for the tab multiplies one number at a time. Here four are multiplied at once, in tiles of 4 x 8
// results that stay in registers while the sum runs. Every sum has numpy's order, so every bit is equal to numpy's.

import { data, size, stride } from "./wasm/arrays";

const ROWS: i32 = 4; // of a tile
const COLUMNS: i32 = 8;

/**
 * c[..., :, :] = a[..., :, :] @ b[..., :, :] for numpy's arrays a and b with any strides, at most two axes before the
 * last two, and sizes that broadcast; c has no gaps. A bias of `columns` numbers, if it is not 0, is added to each row. The
 * scratch holds 32 + 4 * depth + 8 * ceil(columns / 8) * depth
 * numbers.
 */
export function matmul(a: usize, b: usize, bias: usize, c: usize, scratch: usize): void {
  const rows = size(c, 1), columns = size(c, 0), depth = size(a, 0);
  const aRow = stride(a, 1), aColumn = stride(a, 0), bRow = stride(b, 1), bColumn = stride(b, 0);
  const tile = data(scratch);
  const left = tile + ROWS * COLUMNS * 4;
  const right = left + ROWS * depth * 4;
  let to = data(c);
  bias = bias && data(bias);
  for (let o = 0; o < size(c, 3); o++) {
    for (let i = 0; i < size(c, 2); i++) {
      const x = data(a) + o * stride(a, 3) + i * stride(a, 2);
      pack(data(b) + o * stride(b, 3) + i * stride(b, 2), bRow, bColumn, depth, columns, COLUMNS, right);
      for (let row = 0; row < rows; row += ROWS, to += ROWS * columns * 4) {
        const height = min(ROWS, rows - row);
        const isDirect = height == ROWS && aColumn == 4; // else the cache is used better after a copy
        if (!isDirect) pack(x + row * aRow, aColumn, aRow, depth, height, ROWS, left);
        const from = isDirect ? x + row * aRow : left;
        const fromRow = isDirect ? aRow : 4, fromColumn = isDirect ? 4 : ROWS * 4;
        for (let column = 0; column < columns; column += COLUMNS) {
          const width = min(COLUMNS, columns - column);
          const isFull = height == ROWS && width == COLUMNS;
          const place = isFull ? to + column * 4 : tile;
          const gap = (isFull ? columns : COLUMNS) * 4;
          multiply(from, fromRow, fromColumn, right + column * depth * 4, depth, place, gap);
          if (bias) for (let r = 0; r < height; r++) add(place + r * gap, bias + column * 4, width);
          for (let r = 0; r < height && !isFull; r++) memory.copy(to + (r * columns + column) * 4, tile + r * gap, width * 4);
        }
      }
      to -= (-rows & (ROWS - 1)) * columns * 4;
    }
  }
}

/** x += y for at most COLUMNS numbers. */
// @ts-ignore: decorator
@inline
function add(x: usize, y: usize, n: i32): void {
  if (n == COLUMNS) {
    v128.store(x, f32x4.add(v128.load(x), v128.load(y)));
    v128.store(x, f32x4.add(v128.load(x, 16), v128.load(y, 16)), 16);
  } else {
    for (let i = 0; i < n * 4; i += 4) store<f32>(x + i, load<f32>(x + i) + load<f32>(y + i));
  }
}

/** Copy (depth, count) numbers into panels of (depth, size), the last one filled up with zeros. */
function pack(from: usize, stride: i32, step: i32, depth: i32, count: i32, size: i32, to: usize): void {
  for (let first = 0; first < count; first += size) {
    const n = min(size, count - first);
    let p = 0;
    if (stride == 4 && n == size) {
      for (; p + 4 <= depth; p += 4, to += size * 16) {
        for (let j = 0; j < size; j += 4) transpose(from + p * 4 + j * step, step, to + j * 4, size * 4);
      }
    }
    for (; p < depth; p++) {
      let source = from + p * stride;
      if (step == 4 && n == size) {
        for (let j = 0; j < size; j += 4) v128.store(to + j * 4, v128.load(source + j * 4));
      } else {
        for (let j = 0; j < size; j++) {
          store<f32>(to + j * 4, j < n ? load<f32>(source) : 0);
          source += step;
        }
      }
      to += size * 4;
    }
    from += size * step;
  }
}

/** Copy 4 x 4 numbers, rows to columns. */
// @ts-ignore: decorator
@inline
function transpose(from: usize, step: i32, to: usize, row: i32): void {
  const a = v128.load(from), b = v128.load(from + step);
  const c = v128.load(from + 2 * step), d = v128.load(from + 3 * step);
  const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  const ab2 = v128.shuffle<i32>(a, b, 2, 6, 3, 7), cd2 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i64>(ab, cd, 0, 2));
  v128.store(to + row, v128.shuffle<i64>(ab, cd, 1, 3));
  v128.store(to + 2 * row, v128.shuffle<i64>(ab2, cd2, 0, 2));
  v128.store(to + 3 * row, v128.shuffle<i64>(ab2, cd2, 1, 3));
}

/** The sums of one tile over the depth, from ROWS rows of a with any strides and a panel b of (depth, COLUMNS). */
// @ts-ignore: decorator
@inline
function multiply(a: usize, row: i32, step: i32, b: usize, depth: i32, to: usize, toRow: i32): void {
  let c00 = f32x4.splat(0), c01 = f32x4.splat(0);
  let c10 = f32x4.splat(0), c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0), c21 = f32x4.splat(0);
  let c30 = f32x4.splat(0), c31 = f32x4.splat(0);
  const second = a + row, third = second + row, fourth = third + row;
  for (let p = 0, at = 0; p < depth; p++, at += step, b += COLUMNS * 4) {
    const b0 = v128.load(b), b1 = v128.load(b, 16);
    const a0 = v128.load32_splat(a + at), a1 = v128.load32_splat(second + at);
    const a2 = v128.load32_splat(third + at), a3 = v128.load32_splat(fourth + at);
    c00 = f32x4.add(c00, f32x4.mul(a0, b0));
    c01 = f32x4.add(c01, f32x4.mul(a0, b1));
    c10 = f32x4.add(c10, f32x4.mul(a1, b0));
    c11 = f32x4.add(c11, f32x4.mul(a1, b1));
    c20 = f32x4.add(c20, f32x4.mul(a2, b0));
    c21 = f32x4.add(c21, f32x4.mul(a2, b1));
    c30 = f32x4.add(c30, f32x4.mul(a3, b0));
    c31 = f32x4.add(c31, f32x4.mul(a3, b1));
  }
  v128.store(to, c00);
  v128.store(to, c01, 16);
  v128.store(to + toRow, c10);
  v128.store(to + toRow, c11, 16);
  v128.store(to + 2 * toRow, c20);
  v128.store(to + 2 * toRow, c21, 16);
  v128.store(to + 3 * toRow, c30);
  v128.store(to + 3 * toRow, c31, 16);
}
