// As sitecustomize.py, for Node: NODE_OPTIONS has every Node that a kept test starts load this file first.
"use strict";

const { KEPT_LOG: log, KEPT_REPOSITORY: repository } = process.env;
if (log && repository && !process.execPath.includes("playwright")) {
  const childProcess = require("node:child_process");
  const fs = require("node:fs");
  const { sep, resolve } = require("node:path");
  const { fileURLToPath } = require("node:url");
  const nodeModule = require("node:module");
  const append = fs.appendFileSync;

  const note = (kind, path) => append(log, `${kind}\t${path}\n`);
  const noteFile = (kind, name) => {
    if (!(typeof name === "string" || name instanceof URL || Buffer.isBuffer(name))) return;
    const path = String(name).startsWith("file:") ? fileURLToPath(name) : resolve(String(name));
    if (path.startsWith(repository + sep)) note(kind, path);
  };
  const replace = (api, names, before) => {
    for (const name of names) {
      const real = api[name];
      if (!real) continue;
      api[name] = function (first, ...others) {
        before(first);
        return real.call(this, first, ...others);
      };
      Object.defineProperties(api[name], Object.getOwnPropertyDescriptors(real));
    }
  };
  for (const api of [fs, fs.promises]) {
    const reads = ["open", "openSync", "readFile", "readFileSync", "createReadStream", "copyFile", "copyFileSync"];
    replace(api, reads, (path) => noteFile("read", path));
    replace(api, ["readdir", "readdirSync", "opendir", "opendirSync"], (path) => noteFile("list", path));
    const asks = ["exists", "existsSync", "stat", "statSync", "lstat", "lstatSync", "access", "accessSync"];
    replace(api, asks, (path) => noteFile("ask", path));
    replace(api, ["cp", "cpSync"], () => note("start", "cp"));
  }
  const starts = ["spawn", "spawnSync", "exec", "execSync", "execFile", "execFileSync", "fork"];
  // Pyright only asks a Python for its sys.path, and reads the files of these folders itself.
  const isPyright = /[\\/]basedpyright[\\/]/.test(process.argv[1] ?? "");
  replace(childProcess, starts, (program) => isPyright || note("start", program));
  nodeModule.syncBuiltinESMExports();
  nodeModule.registerHooks({
    load(url, context, next) {
      if (url.startsWith("file:")) noteFile("read", url);
      return next(url, context);
    },
  });
}
