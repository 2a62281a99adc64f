// WebAssembly beside Pyodide's, on the memory of its Python.

// Pyodide, and its memory, which it tells nobody: seen when it is made.
export async function withMemory(load) {
  const { Memory } = WebAssembly;
  const made = [];
  WebAssembly.Memory = function (size) {
    made.push(new Memory(size));
    return made.at(-1);
  };
  const pyodide = await load().finally(() => (WebAssembly.Memory = Memory));
  return { pyodide, memory: made.find(({ buffer }) => buffer === pyodide._module.HEAPU8.buffer) };
}

// Let array_matmul.py import the products, where the browser can run them: elsewhere numpy makes them, ten times slower.
export async function addKernels(pyodide, memory, code) {
  if (!memory || !WebAssembly.validate(code)) return;
  const { instance } = await WebAssembly.instantiate(code, { env: { memory } });
  pyodide.registerJsModule("torch_kernels", instance.exports);
}
