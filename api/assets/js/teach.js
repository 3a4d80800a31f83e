/* Examples, one request each, so that one bad file or a busy moment costs no other. */

import { PageError } from "./errors.js";
import { addExample, fetchLabels } from "./service.js";
import { percent, spoken } from "./words.js";

const AT_ONCE = 2;
const MAX_ATTEMPTS = 6;

const form = document.getElementById("examples-form");
const status = document.getElementById("examples-status");
const list = document.getElementById("examples-list");
const template = document.getElementById("example-template");

for (const hint of document.querySelectorAll("[data-without-scripts]")) hint.hidden = true;
for (const hint of document.querySelectorAll("[data-with-scripts]")) hint.hidden = false;
form.addEventListener("submit", (event) => {
  event.preventDefault();
  add([...form.elements.file.files]);
});
dropping();
offerLabels();

function dropping() {
  const take = (files) => {
    if (!form.elements.label.reportValidity()) return;
    if (files.length) add(files);
  };
  document.addEventListener("drop", (event) => take([...event.dataTransfer.files]));
  const early = globalThis.droppedEarly;
  globalThis.droppedEarly = null;
  if (early.length) take(early);
}

async function add(files) {
  const label = form.elements.label.value.trim();
  const waiting = [...files];
  const failed = [];
  let done = 0;
  say(`0 of ${files.length} added`);
  const work = async () => {
    while (waiting.length) {
      const file = waiting.shift();
      try {
        show(file, await addOne(label, file));
      } catch (error) {
        failed.push(`${file.name}: ${error.message}`);
      }
      done += 1;
      say(`${done} of ${files.length} done${failed.length ? `, ${failed.length} could not be used` : ""}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (failed.length) {
    say(`${files.length - failed.length} of ${files.length} added. ${failed.join(" ")}`);
    form.elements.file.value = "";
    return;
  }
  // With what the class is confused with, which the service counts.
  location.assign(`${form.dataset.page}?${new URLSearchParams({ label })}`);
}

async function addOne(label, file) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await addExample(form.action, label, file);
    } catch (error) {
      if (!(error instanceof PageError) || !error.retryAfter || attempt === MAX_ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, error.retryAfter * 1000));
    }
  }
}

function show(file, example) {
  const item = template.content.cloneNode(true);
  const image = item.querySelector("img");
  image.src = URL.createObjectURL(file);
  image.onload = () => URL.revokeObjectURL(image.src);
  item.querySelector("span").textContent = `${spoken(example.prediction)}, ${percent(example.score)}`;
  list.prepend(item);
}

function say(text) {
  status.textContent = text;
}

async function offerLabels() {
  const labels = await fetchLabels(document.getElementById("teach").dataset.labels);
  document.getElementById("labels").append(...labels.map((label) => new Option("", spoken(label))));
}
