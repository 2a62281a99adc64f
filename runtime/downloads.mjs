// Counts what the tab downloads while it comes, so that a page can show how much is still missing.

const PAUSE = 100; // ms between two reports

export class Downloads {
  #report; // called with the names of what is still coming, and {loaded, total} in megabytes
  #coming = new Map(); // what readers call it: how many of its files are still to come
  #loaded = 0;
  #total = 0;
  #reported = 0; // when

  constructor(report) {
    this.#report = report;
  }

  expect(name, megabytes, files) {
    this.#coming.set(name, (this.#coming.get(name) ?? 0) + files);
    this.#total += megabytes;
    this.#tell();
  }

  // A host that compresses sends `share` of the bytes. This reads a copy: the browser keeps compiled WebAssembly for the next
  // visit only with the response that came from the host.
  async count(name, response, share = 1) {
    const write = (chunk) => {
      this.#loaded += (chunk.byteLength * share) / 1e6;
      if (performance.now() - this.#reported > PAUSE) this.#tell();
    };
    try {
      await response.clone().body.pipeTo(new WritableStream({ write }));
    } catch {
      return; // who reads the response itself is told
    }
    const files = this.#coming.get(name) - 1;
    if (!files) return this.#end(name);
    this.#coming.set(name, files);
    this.#tell();
  }

  // What was expected does not come.
  drop(name) {
    if (this.#coming.has(name)) this.#end(name);
  }

  #end(name) {
    this.#coming.delete(name);
    this.#tell();
    if (!this.#coming.size) this.#loaded = this.#total = 0;
  }

  #tell() {
    this.#reported = performance.now();
    this.#report([...this.#coming.keys()], { loaded: Math.min(this.#loaded, this.#total), total: this.#total });
  }
}
