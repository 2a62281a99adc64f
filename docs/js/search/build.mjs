// Reads sections as JSON from standard input, and writes their index: node docs/js/search/build.mjs
import { readFileSync } from "node:fs";
import { build } from "./engine.mjs";

process.stdout.write(JSON.stringify(build(JSON.parse(readFileSync(0, "utf8")))));
