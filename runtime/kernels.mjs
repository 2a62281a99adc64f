// WebAssembly beside Pyodide's, on the memory of its Python.

// Pyodide, and its memory, which it tells nobody: seen when it is made.
export async function withMemory(load) {
  const { Memory, instantiateStreaming } = WebAssembly;
  const made = [];
  WebAssembly.Memory = /** @type {any} */ (function (size) {
    made.push(new Memory(size));
    return made.at(-1);
  });
  // Without its code, which may be missing or break off, Pyodide waits for ever.
  const failed = new Promise((_, reject) => {
    WebAssembly.instantiateStreaming = (...given) =>
      instantiateStreaming(...given).catch((error) => {
        reject(new Error(`Its WebAssembly could not be loaded: ${error.message}`));
        throw error;
      });
  });
  const restore = () => Object.assign(WebAssembly, { Memory, instantiateStreaming });
  const pyodide = await Promise.race([load(), failed]).finally(restore);
  return { pyodide, memory: made.find(({ buffer }) => buffer === pyodide._module.HEAPU8.buffer) };
}

// Let torch/kernels.py and llmguide.nn.q4 import the kernels, where the browser can run them: elsewhere numpy does their work,
// up to ten times slower.
export async function addKernels(pyodide, memory, code) {
  if (!memory || !WebAssembly.validate(code)) return;
  const { instance } = await WebAssembly.instantiate(code, { env: { memory } });
  pyodide.registerJsModule("torch_kernels", instance.exports);
}
