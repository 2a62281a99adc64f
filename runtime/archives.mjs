// Archives that the browser unpacks in a tenth of the time that Python takes in it.

const BLOCK = 512; // bytes, of a tar

// Writes the files of a .tgz below a folder of Python's file system. Their names have at most 255 characters (ustar).
export async function unpack(FS, archive, folder) {
  const stream = new Blob([archive]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const decoder = new TextDecoder();
  for (let at = 0; bytes[at]; ) {
    const field = (from, to) => decoder.decode(bytes.subarray(at + from, at + to)).split("\0", 1)[0];
    const [name, size, prefix] = [field(0, 100), parseInt(field(124, 136), 8), field(345, 500)];
    const path = [folder, prefix, name].filter(Boolean).join("/");
    at += BLOCK;
    FS.mkdirTree(path.slice(0, path.lastIndexOf("/")));
    FS.writeFile(path, bytes.subarray(at, at + size), { canOwn: true });
    at += Math.ceil(size / BLOCK) * BLOCK;
  }
}
