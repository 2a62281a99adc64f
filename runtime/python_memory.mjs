// What the first start of Python took the most time for, kept in this browser: its memory, and the bytecode of its modules.

const CACHE = "llmguide-python";
export const bytecodeOf = (key) => `${key}?bytecode`;

// A response, or undefined. A browser that stores nothing, as some private windows, starts Python from scratch each time.
export async function find(key) {
  try {
    return await (await caches.open(CACHE)).match(key);
  } catch {
    return undefined;
  }
}

export async function keep(key, content) {
  try {
    await (await caches.open(CACHE)).put(key, new Response(content));
  } catch {}
}

export async function drop() {
  try {
    await caches.delete(CACHE);
  } catch {}
}
