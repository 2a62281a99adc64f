// Weights of language models, kept in this browser: a later visit does not download them.
//
// In Cache Storage, because an entry is stored whole or not at all, a page and its worker read it in the same way, and any
// number of tabs may. OPFS has none of the three. An entry is named after the SHA-256 of its file: a new version of a model
// downloads only what has changed. Where the browser stores nothing, a model is used from memory.

const CACHE = "llmguide-model-"; // one for each model
export const megabytes = (files) => files.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6;
const address = ({ sha256 }) => new URL(sha256, import.meta.url).href;

// Undefined where storage is denied, as in some private windows.
async function open({ name }) {
  try {
    return await caches.open(CACHE + name);
  } catch {
    return undefined;
  }
}

// Two tabs that want the same file download it once, where the browser grants locks. It ends those of a tab that is closed.
async function alone(file, signal, work) {
  let begun = false;
  const begin = () => {
    begun = true;
    return work();
  };
  try {
    return await navigator.locks.request(address(file), { signal }, begin);
  } catch (error) {
    if (begun || signal.aborted) throw error;
    return work();
  }
}

const isWhole = async (content, file, sha256) => (await sha256(await content.arrayBuffer())) === file.sha256;

// A blob, or undefined where it is missing or damaged.
async function read(cache, file, sha256) {
  try {
    const content = await (await cache?.match(address(file)))?.blob();
    return content && (await isWhole(content, file, sha256)) ? content : undefined;
  } catch {
    return undefined;
  }
}

// Promises of the content of stored files, by file. One is in memory at a time.
export function readAhead(model, files, sha256) {
  const cache = open(model);
  let before;
  return new Map(
    files.map((file) => {
      before = Promise.all([cache, before]).then(([cache]) => read(cache, file, sha256));
      return [file, before];
    }),
  );
}

async function keep(cache, file, content) {
  try {
    await cache.put(address(file), new Response(content));
    return true;
  } catch {
    return false; // no space is left
  }
}

// The files of a model that are not stored.
export async function missingFiles(model) {
  try {
    const stored = new Set((await (await open(model)).keys()).map(({ url }) => url));
    return model.files.filter((file) => !stored.has(address(file)));
  } catch {
    return model.files;
  }
}

// Hands files of a model to `place`, one after the other: from this browser or, if they are missing there or damaged, from
// `download`. `ahead` is what `readAhead` reads; `downloads` counts what comes. Resolves to whether all are stored.
export async function provide(model, { files, missing, ahead, sha256, download, downloads, place, signal }) {
  const { title } = model;
  const cache = await open(model);
  let stored = true;
  if (missing.length) downloads.expect(title, megabytes(missing), missing.length);
  try {
    for (const file of files) {
      await alone(file, signal, async () => {
        let content = (await ahead.get(file)) ?? (await read(cache, file, sha256));
        if (content) {
          if (missing.includes(file)) downloads.count(title, new Response(content)); // another tab has stored it meanwhile
        } else {
          if (!missing.includes(file)) downloads.expect(title, megabytes([file]), 1);
          content = await download(file);
          if (!(await isWhole(content, file, sha256))) throw new Error(`${title} was refused: the file ${file.url} is damaged.`);
          stored &&= await keep(cache, file, content);
        }
        signal.throwIfAborted();
        ahead.delete(file);
        place(file, content);
      });
    }
  } finally {
    downloads.drop(title);
  }
  if (stored) await removeOthers(model, cache);
  return stored;
}

async function removeOthers({ files }, cache) {
  const wanted = new Set(files.map(address));
  try {
    for (const request of await cache.keys()) if (!wanted.has(request.url)) await cache.delete(request);
  } catch {}
}

export async function remove({ name }) {
  try {
    await caches.delete(CACHE + name);
  } catch {}
}
