// Which files are never sent: those with secrets, those that are hidden from the explorer, and those that Git ignores.
"use strict";

const {execFile} = require("node:child_process");
const path = require("node:path");
const vscode = require("vscode");

// Fixed, so that no folder's settings can take anything away.
const SECRETS = [
  ".env", ".env.*", "*.env", ".envrc", "*.tfvars", "*.tfstate",
  "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.asc", "*.gpg",
  "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".ssh/**", ".gnupg/**", ".aws/**", ".kube/**",
  ".netrc", "_netrc", ".npmrc", ".pypirc", ".git-credentials", ".pgpass", ".htpasswd", ".docker/config.json",
  "credentials", "credentials.*", "secrets.{json,toml,yaml,yml,ini}", "app.token",
].map((name) => `**/${name}`);

const ignored = new Map(); // by path, until a .gitignore changes

/** Whether the text of a document may be sent. */
async function maySend(document) {
  const settings = vscode.workspace.getConfiguration("llmguide");
  const hidden = vscode.workspace.getConfiguration("files", document.uri).get("exclude") ?? {};
  const shut = Object.keys(hidden).filter((pattern) => hidden[pattern] === true);
  const patterns = [...SECRETS, ...(settings.get("exclude") ?? []), ...shut, ...shut.map((pattern) => `${pattern}/**`)];
  if (vscode.languages.match(patterns.map((pattern) => ({pattern})), document) > 0) return false;
  if (settings.get("gitIgnored") || document.uri.scheme === "untitled") return true;
  const file = document.uri.fsPath;
  if (!ignored.has(file)) ignored.set(file, isIgnored(file));
  return !(await ignored.get(file));
}

/** Asks Git. The index is not read and no hook runs, so that a folder which you do not trust cannot start a program. */
function isIgnored(file) {
  const args = ["-c", "core.fsmonitor=false", "check-ignore", "--quiet", "--no-index", "--", file];
  return new Promise((resolve) => {
    execFile("git", args, {cwd: path.dirname(file)}, (error) => resolve(error === null)); // else no Git, or not ignored
  });
}

/** Asks Git again once a .gitignore has changed. */
function forget(document) {
  if (path.basename(document.uri.path) === ".gitignore") ignored.clear();
}

module.exports = {forget, maySend};
