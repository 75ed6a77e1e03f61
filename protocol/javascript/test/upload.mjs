// Uploads random bytes with tus-js-client, as an app would, and tells in lines what it does:
// node upload.mjs <address of the server> <access token> <bytes> <options as JSON>
import { createHash, randomBytes } from "node:crypto";
import * as tus from "tus-js-client";

const [url, token, bytes, options] = process.argv.slice(2);
const content = randomBytes(Number(bytes));
const { pauseAt, ...others } = JSON.parse(options);
let paused = false;
let half = false;

function tell(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

const upload = new tus.Upload(content, {
  endpoint: `${url}/api/uploads`,
  headers: { Authorization: `Bearer ${token}` },
  metadata: { filename: "talk.bin", filetype: "audio/mpeg" },
  retryDelays: [0, 200, 500, 1000, 2000, 4000, 4000],
  ...others,
  onProgress(sent) {
    if (pauseAt !== undefined && !paused && sent >= pauseAt) {
      paused = true;
      // As when the app is closed: what is known of the upload is its address.
      upload.abort().then(() => {
        tell({ paused: sent });
        upload.start();
      });
    }
  },
  onChunkComplete(size, accepted) {
    if (!half && accepted >= content.length / 2) {
      half = true;
      tell({ half: accepted });
    }
  },
  onError(error) {
    tell({ error: String(error) });
    process.exitCode = 1;
  },
  onSuccess() {
    tell({ url: upload.url, sha256: createHash("sha256").update(content).digest("hex") });
  },
});
upload.start();
