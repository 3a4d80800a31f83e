/* What visitors can copy from an answer: JSON, commands that repeat it, and a link; and the answer of another version. */

import { fetchJson } from "./service.js";
import { percent, spoken } from "./words.js";

const part = (id) => document.getElementById(id);
const stage = part("stage");
const COPIED_MS = 2000;

const TEXTS = {
  "copy-json": ({ answer }) => JSON.stringify(answer, null, 2),
  "copy-curl": curl,
  "copy-python": python,
};

/** Make the buttons work; `shown` gives the look on the stage, none where the server rendered the answer. */
export function enhance(shown) {
  for (const [id, textOf] of Object.entries(TEXTS)) {
    part(id).addEventListener("click", async () => {
      const words = await copy(textOf(shown())) ? "Copied" : "Copying failed";
      await say(part(id), words);
    });
  }
  part("answer-compare")?.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    compare(part("answer-compare").href);
  });
}

/** Offer what there is of an answer. */
export function offer({ answer }) {
  for (const id of Object.keys(TEXTS)) part(id).hidden = false;
  part("answer-link").hidden = !answer.prediction_id;
  part("answer-link").href = stage.dataset.prediction.replace("PREDICTION", () => encodeURIComponent(answer.prediction_id));
  part("compared").replaceChildren();
  const link = part("answer-compare");
  if (!link) return;
  link.hidden = !answer.prediction_id;
  link.href = link.dataset.candidate.replace("PREDICTION", () => encodeURIComponent(answer.prediction_id));
}

// What the version that is tried answers; nothing is shown of an answer that the page has left meanwhile.
async function compare(url) {
  const place = part("compared");
  place.textContent = "Asking the other version…";
  let words;
  try {
    const { model_version, predictions } = await fetchJson(url);
    words = `${model_version}: ${predictions.map(({ label, score }) => `${spoken(label)} ${percent(score)}`).join(", ")}`;
  } catch (error) {
    words = error.message;
  }
  if (part("answer-compare").href === url) place.textContent = words;
}

function address() {
  return `${new URL(stage.dataset.predict, location.href)}?top_k=5`;
}

function curl({ original }) {
  const file = `file=@"${original.name.replace(/["\\]/g, "\\$&")}"`;
  const key = stage.dataset.needsKey ? ' -H "Authorization: Bearer $SIGHTLINE_KEY"' : "";
  return `curl${key} -F ${quoted(file)} ${quoted(address())}`;
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function python({ original }) {
  const headers = ['"Content-Type": "application/octet-stream"'];
  if (stage.dataset.needsKey) headers.push('"Authorization": f"Bearer {os.environ[\'SIGHTLINE_KEY\']}"');
  return `import json
import ${stage.dataset.needsKey ? "os\nimport " : ""}urllib.request
from pathlib import Path

image = Path(${JSON.stringify(original.name)}).read_bytes()
headers = {${headers.join(", ")}}
request = urllib.request.Request(${JSON.stringify(address())}, image, headers)
with urllib.request.urlopen(request) as response:
    print(json.dumps(json.load(response), indent=2))
`;
}

async function copy(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return false;
    }
  }
  // Pages without TLS have no clipboard of their own.
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  return isCopied;
}

async function say(button, words) {
  button.dataset.usual ??= button.textContent;
  const usual = button.dataset.usual;
  button.textContent = words;
  part("announcement").textContent = words;
  await new Promise((resolve) => { setTimeout(resolve, COPIED_MS); });
  button.textContent = usual;
}
