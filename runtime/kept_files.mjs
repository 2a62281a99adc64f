// Files that outlive the tab: those that Python gives their names below /kept, such as checkpoints of a training run.
//
// Python blocks its worker while it trains, and the worker can store nothing meanwhile. So it hands each file that is
// renamed to a place below /kept to the page (checkpoints are written under another name first), and the page stores it in Cache Storage,
// where an entry is stored whole or not at all. A new worker gets the files back before the first run that asks for them.

const CACHE = "llmguide-kept";
const FOLDER = "/kept/";
const address = (path) => new URL(`kept?${encodeURIComponent(path)}`, import.meta.url).href;
const pathOf = (url) => decodeURIComponent(new URL(url).search.slice(1));

// ---- in the worker -------------------------------------------------------------------------------------------------

// `post` hands {path, content} to the page, without content where a file was deleted.
export function watchFiles(FS, post) {
  const { rename, unlink } = FS;
  FS.mkdirTree(FOLDER);
  FS.rename = (from, to) => {
    rename(from, to);
    if (to.startsWith(FOLDER) && FS.isFile(FS.stat(to).mode)) post({ path: to, content: FS.readFile(to) });
  };
  FS.unlink = (path) => {
    unlink(path);
    if (path.startsWith(FOLDER)) post({ path });
  };
}

// A file that is there already is newer.
export async function restoreFiles(FS) {
  try {
    const cache = await caches.open(CACHE);
    for (const request of await cache.keys()) {
      const path = pathOf(request.url);
      if (FS.analyzePath(path).exists) continue;
      const content = await (await cache.match(request)).arrayBuffer();
      FS.mkdirTree(path.slice(0, path.lastIndexOf("/")));
      FS.writeFile(path, new Uint8Array(content));
    }
  } catch {} // storage is denied
}

// ---- in the page ---------------------------------------------------------------------------------------------------

let order = Promise.resolve(); // a checkpoint is stored before the one that it replaces is deleted

// Resolves to whether the file is stored, or deleted.
export function keep({ path, content }) {
  const stored = order.then(async () => {
    const cache = await caches.open(CACHE);
    if (content) await cache.put(address(path), new Response(content));
    else await cache.delete(address(path));
  });
  order = stored.catch(() => {});
  return stored.then(
    () => true,
    () => false,
  );
}
