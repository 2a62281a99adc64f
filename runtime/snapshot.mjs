// The memory of a Python that has just started, kept in this browser: the next start reads it, and skips what took the most time.

const CACHE = "llmguide-python";

// The memory, or undefined. A browser that stores nothing, as some private windows, starts Python from scratch each time.
export async function readSnapshot(key) {
  try {
    const found = await (await caches.open(CACHE)).match(key);
    return await found?.arrayBuffer();
  } catch {
    return undefined;
  }
}

export async function keepSnapshot(key, memory) {
  await dropSnapshot(); // of other versions
  try {
    await (await caches.open(CACHE)).put(key, new Response(memory));
  } catch {}
}

export async function dropSnapshot() {
  try {
    await caches.delete(CACHE);
  } catch {}
}
