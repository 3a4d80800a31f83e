/* Ask the service with axios, undici and Node's fetch, each as its documentation does.

   `node node_clients.mjs URL IMAGE` prints a JSON object: the label by client and way of sending. */

import { createReadStream, openAsBlob } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename } from "node:path";

import axios from "axios";
import * as undici from "undici";

const [url, image] = process.argv.slice(2);
const predict = `${url}/predict`;
const content = await readFile(image);
const jpeg = { headers: { "Content-Type": "image/jpeg" } };
const blob = new Blob([content], { type: "image/jpeg" });

function form(FormData, ...name) {
  const made = new FormData();
  made.append("file", blob, ...name);
  return made;
}

const posted = async (body, options) => (await axios.post(predict, body, options)).data;
const requested = async (body) => (await undici.request(predict, { method: "POST", body })).body.json();
const fetched = async (fetch, body, options) => (await fetch(predict, { method: "POST", body, ...options })).json();

const ways = {
  "axios, FormData": () => posted(form(FormData, "cat.jpg")),
  "axios, a Blob without a name": () => posted(form(FormData)),
  "axios, a buffer": () => posted(content, jpeg),
  "axios, a buffer without a type": () => posted(content),
  "axios, a stream": () => posted(createReadStream(image), jpeg),
  "axios, a stream without a type": () => posted(createReadStream(image)),
  "axios, JSON": () => posted({ image: content.toString("base64") }),
  "undici, FormData with a Blob": () => requested(form(undici.FormData)),
  "undici, FormData with a name": () => requested(form(undici.FormData, "cat.jpg")),
  "undici, a buffer": () => requested(content),
  "undici, a stream": () => requested(createReadStream(image)),
  "undici, fetch": () => fetched(undici.fetch, form(undici.FormData)),
  "fetch, FormData with a file": async () => {
    const made = new FormData();
    made.set("file", await openAsBlob(image), basename(image));
    return fetched(fetch, made);
  },
  "fetch, a Blob": () => fetched(fetch, blob),
  "fetch, a stream": () => fetched(fetch, blob.stream(), { duplex: "half" }),
};

const labels = {};
for (const [way, ask] of Object.entries(ways)) {
  try {
    labels[way] = (await ask()).prediction;
  } catch (error) {
    labels[way] = String(error);
  }
}
process.stdout.write(JSON.stringify(labels));
