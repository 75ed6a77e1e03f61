// Builds the console into dist/: a page, its hashed assets (each also gzipped) and the service
// worker, which is told the names of all of them.
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = dirname(fileURLToPath(import.meta.url));
const dist = join(root, "dist");
const assets = join(dist, "assets");
const client = join(root, "../../protocol/javascript/src");

/** The client's own imports resolve from here: two copies of Yjs would not know each other. */
const oneCopy = {
  name: "one-copy",
  setup(build) {
    const entry = { path: join(client, "index.ts") };
    build.onResolve({ filter: /^@memory-app\/client$/ }, () => entry);
    build.onResolve({ filter: /^[^./]/ }, ({ path, importer, kind, pluginData }) => {
      if (pluginData === "resolved" || !importer.startsWith(client)) return undefined;
      return build.resolve(path, { kind, resolveDir: root, pluginData: "resolved" });
    });
  },
};

const options = {
  absWorkingDir: root,
  bundle: true,
  legalComments: "none",
  metafile: true,
  minify: true,
  plugins: [oneCopy],
  target: ["chrome123", "firefox128", "safari17.5"],
};

await rm(dist, { recursive: true, force: true });
await mkdir(assets, { recursive: true });

const built = await build({
  ...options,
  entryPoints: { boot: "src/boot.ts", main: "src/main.ts", style: "src/styles/index.css" },
  entryNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  format: "esm",
  loader: { ".woff2": "file" },
  outdir: assets,
});

const byEntry = {};
for (const [path, { entryPoint }] of Object.entries(built.metafile.outputs)) {
  if (entryPoint) byEntry[entryPoint] = `/${relative(dist, join(root, path))}`;
}
const names = await readdir(assets);
const fonts = names.filter((name) => name.endsWith(".woff2") && name.includes("normal"));
const preload = fonts.map(
  (name) => `<link rel="preload" href="/assets/${name}" as="font" type="font/woff2" crossorigin />`,
);
const page = (await readFile(join(root, "index.html"), "utf8"))
  .replace("{{boot}}", byEntry["src/boot.ts"])
  .replace("{{main}}", byEntry["src/main.ts"])
  .replace("{{style}}", byEntry["src/styles/index.css"])
  .replace("{{preload}}", preload.join("\n    "));
await writeFile(join(dist, "index.html"), page);
for (const name of ["icon.svg", "manifest.webmanifest"]) {
  await writeFile(join(dist, name), await readFile(join(root, name)));
}

const shell = ["/", "/icon.svg", "/manifest.webmanifest"];
shell.push(...names.map((name) => `/assets/${name}`));
await build({
  ...options,
  entryPoints: ["worker/sw.ts"],
  define: {
    SHELL: JSON.stringify(shell),
    VERSION: JSON.stringify(createHash("sha256").update(page).digest("hex").slice(0, 12)),
  },
  format: "iife",
  outfile: join(dist, "sw.js"),
});

let total = 0;
for (const name of names.filter((name) => /\.(js|css)$/.test(name))) {
  const packed = gzipSync(await readFile(join(assets, name)), { level: 9 });
  await writeFile(join(assets, `${name}.gz`), packed);
  total += packed.length;
}
console.log(`console built: ${Math.round(total / 1024)} KB of script and style, gzipped`);
