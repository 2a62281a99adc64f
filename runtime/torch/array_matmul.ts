// Products of float32 matrices in Python's memory, compiled to WebAssembly by AssemblyScript.
//
// numpy's build for the tab multiplies one number at a time. Here four are multiplied at once, in tiles of 4 x 8
// results that stay in registers while the sum runs. Every sum has numpy's order, so every bit is equal to numpy's.
// Addresses and strides are in bytes.

const ROWS: i32 = 4; // of a tile
const COLUMNS: i32 = 8;

/**
 * c[o, i] = a[o, i] @ b[o, i] for a of (outer, inner, rows, depth) and b of (outer, inner, depth, columns), with any
 * strides, and c without gaps. The scratch holds 32 + 4 * depth + 8 * ceil(columns / 8) * depth numbers.
 */
export function matmul(
  a: usize, aOuter: i32, aInner: i32, aRow: i32, aColumn: i32,
  b: usize, bOuter: i32, bInner: i32, bRow: i32, bColumn: i32,
  c: usize, outer: i32, inner: i32, rows: i32, columns: i32, depth: i32, scratch: usize,
): void {
  const tile = scratch;
  const left = tile + ROWS * COLUMNS * 4;
  const right = left + ROWS * depth * 4;
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      pack(b + o * bOuter + i * bInner, bRow, bColumn, depth, columns, COLUMNS, right);
      for (let row = 0; row < rows; row += ROWS) {
        const height = min(ROWS, rows - row);
        pack(a + o * aOuter + i * aInner + row * aRow, aColumn, aRow, depth, height, ROWS, left);
        for (let column = 0; column < columns; column += COLUMNS) {
          multiply(left, right + column * depth * 4, depth, tile);
          const width = min(COLUMNS, columns - column) * 4;
          for (let r = 0; r < height; r++) {
            memory.copy(c + ((row + r) * columns + column) * 4, tile + r * COLUMNS * 4, width);
          }
        }
      }
      c += rows * columns * 4;
    }
  }
}

/** Copy (depth, count) numbers into panels of (depth, size), the last one filled up with zeros. */
function pack(from: usize, stride: i32, step: i32, depth: i32, count: i32, size: i32, to: usize): void {
  for (let first = 0; first < count; first += size) {
    const n = min(size, count - first);
    for (let p = 0; p < depth; p++) {
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

/** The sums of one tile over the depth; a is a panel of (depth, ROWS), b one of (depth, COLUMNS). */
function multiply(a: usize, b: usize, depth: i32, tile: usize): void {
  let c00 = f32x4.splat(0), c01 = f32x4.splat(0);
  let c10 = f32x4.splat(0), c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0), c21 = f32x4.splat(0);
  let c30 = f32x4.splat(0), c31 = f32x4.splat(0);
  for (let p = 0; p < depth; p++) {
    const b0 = v128.load(b), b1 = v128.load(b, 16);
    const a0 = v128.load32_splat(a), a1 = v128.load32_splat(a, 4);
    const a2 = v128.load32_splat(a, 8), a3 = v128.load32_splat(a, 12);
    c00 = f32x4.add(c00, f32x4.mul(a0, b0));
    c01 = f32x4.add(c01, f32x4.mul(a0, b1));
    c10 = f32x4.add(c10, f32x4.mul(a1, b0));
    c11 = f32x4.add(c11, f32x4.mul(a1, b1));
    c20 = f32x4.add(c20, f32x4.mul(a2, b0));
    c21 = f32x4.add(c21, f32x4.mul(a2, b1));
    c30 = f32x4.add(c30, f32x4.mul(a3, b0));
    c31 = f32x4.add(c31, f32x4.mul(a3, b1));
    a += ROWS * 4;
    b += COLUMNS * 4;
  }
  v128.store(tile, c00);
  v128.store(tile, c01, 16);
  v128.store(tile, c10, 32);
  v128.store(tile, c11, 48);
  v128.store(tile, c20, 64);
  v128.store(tile, c21, 80);
  v128.store(tile, c30, 96);
  v128.store(tile, c31, 112);
}
